"""What may be changed for one run, in the dialog of Kubeflow's page or with `--param`."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipeline import component_ids as ids
from pipeline.config.config import Config

Json = dict[str, Any]
_TYPES = {str: "STRING", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE"}


@dataclasses.dataclass(frozen=True)
class RuntimeParameter:
    """A parameter of the run and where its value goes.

    Attributes:
        default: the configuration's value.
        places: (component, `PROPERTY[/KEY…]`), as `kubeflow.container.overrides` reads it. Those
            in `config` are for the release's manifest and the report, which say what was really
            run.
    """

    name: str
    default: str | int | float
    description: str
    places: tuple[tuple[str, str], ...]


def runtime_parameters(config: Config, data: str) -> list[RuntimeParameter]:
    """The parameters of a pipeline: its data, both trainings' steps, the gate's thresholds."""
    parameters = [
        RuntimeParameter(
            "data",
            data,
            "URI or mounted path of the image TFRecords; {SPAN} stands for the latest span",
            ((ids.EXAMPLE_GEN, "input_base"), (ids.REPORT, "data_path"), *_told("data/path")),
        )
    ]
    for stage, settings in (("vqvae", config.training.vqvae), ("prior", config.training.prior)):
        places: tuple[tuple[str, str], ...] = (
            (ids.TRAINERS[stage], "custom_config/settings/stage/steps"),
            (ids.TRAINERS[stage], "train_args/num_steps"),
            *_told(f"training/{stage}/steps"),
        )
        description = f"optimisation steps of the {stage}'s training"
        parameters.append(RuntimeParameter(f"{stage}_steps", settings.steps, description, places))
    for metric, threshold in config.gate.thresholds.items():
        for rule, limit in threshold:
            if limit is not None:
                path = f"gate/thresholds/{metric}/{rule}"
                places = ((ids.EVALUATOR, path), *_told(path))
                name, description = f"gate_{metric}_{rule}", f"the gate's {metric}: {rule}"
                parameters.append(RuntimeParameter(name, float(limit), description, places))
    return parameters


def _told(key: str) -> tuple[tuple[str, str], ...]:
    """Where a key of the configuration is told on."""
    return tuple((component, f"config/{key}") for component in (ids.PUSHER, ids.REPORT))


def add(spec: Json, parameters: list[RuntimeParameter]) -> None:
    """Adds the parameters to a compiled PipelineSpec, with their defaults.

    TFX's own RuntimeParameter loses its default on the way, and inside of a property it becomes
    text; so these are inputs of the tasks beside TFX's, folded in by the container.
    """
    definitions = spec["root"].setdefault("inputDefinitions", {}).setdefault("parameters", {})
    tasks, executors = spec["root"]["dag"]["tasks"], spec["deploymentSpec"]["executors"]
    for parameter in parameters:
        kind = _TYPES[type(parameter.default)]
        definitions[parameter.name] = {
            "parameterType": kind,
            "defaultValue": parameter.default,
            "isOptional": True,
            "description": parameter.description,
        }
        for component, place in parameter.places:
            inputs = spec["components"][component]["inputDefinitions"]["parameters"]
            inputs[parameter.name] = {"parameterType": kind}
            tasks[component]["inputs"]["parameters"][parameter.name] = {
                "componentInputParameter": parameter.name
            }
            executor = executors[spec["components"][component]["executorLabel"]]
            executor["container"]["args"] += ["--override", f"{parameter.name}={place}"]
