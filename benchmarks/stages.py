"""The pipeline's components, one after the other in this process, as a run executes them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from tfx import types
from tfx.dsl.components.base import base_beam_executor, base_component, base_executor

from pipeline import component_ids as ids
from pipeline.config.config import Config
from pipeline.dag import Run, create_pipeline

# What touches every image before and after training.
DATA = (ids.EXAMPLE_GEN, ids.STATISTICS_GEN, ids.TRANSFORM, ids.TOKENIZER, ids.EVALUATOR)


def configuration(side: int, **data: Any) -> Config:
    """Images of so many pixels a side; networks as small as they can be, trained for a step."""
    brief = {"steps": 1, "batch_size": 8, "evaluate_every": 1, "checkpoint_every": 1}
    encoder = {"downsampling": 8, "hidden_units": 8, "residual_blocks": 1, "residual_units": 8}
    return Config.model_validate(
        {
            "name": "data",
            "data": {
                "image": {"height": side, "width": side, "channels": 3},
                **data,
            },
            "model": {
                "encoder": encoder,
                "quantizer": {"num_codes": 16, "embedding_dim": 8},
                "decoder": {"likelihood": "gaussian"},
            },
            "prior": {"layers": 1, "hidden_units": 8, "head_units": 8},
            "training": {"vqvae": brief, "prior": brief, "cache_mib": 0},
            "gate": {"thresholds": {"nmse": {"max": 1000.0}}},
        }
    )


Made = dict[tuple[str, str], list[types.Artifact]]


class Ran(NamedTuple):
    """What the components have made, by component and output, and what each has taken."""

    made: Made
    seconds: dict[str, float]  # of CPU time
    passed: dict[str, float]  # by the clock


def run(data: Path, folder: Path, config: Config, trained: Ran | None = None) -> Ran:
    """Everything up to the Evaluator, below a folder; with the models of another run, if any."""
    ran = Ran({}, {}, {})
    for component in components(data, folder, config):
        if trained is not None and component.id in ids.TRAINERS.values():
            made = trained.made.items()
            ran.made.update({key: each for key, each in made if key[0] == component.id})
            continue
        started, began = time.process_time(), time.perf_counter()
        ran.made.update(execute(component, ran.made, folder))
        ran.seconds[component.id] = time.process_time() - started
        ran.passed[component.id] = time.perf_counter() - began
    return ran


def components(data: Path, folder: Path, config: Config) -> list[base_component.BaseComponent]:
    """Those up to the Evaluator, in order."""
    places = (str(folder / name) for name in ("artifacts", "checkpoints", "serving"))
    at = Run(str(data), *places, run_key="", baseline_version=0, push_id="")
    made = create_pipeline(config, at).components
    return [each for each in made if each.id not in (ids.PUSHER, ids.REPORT)]


def execute(component: base_component.BaseComponent, made: Made, folder: Path) -> Made:
    """Runs one on what those before it have made; what it makes."""
    inputs = {
        name: made[channel.producer_component_id, channel.output_key]
        for name, channel in component.inputs.items()
    }
    outputs = {}
    for name, channel in component.outputs.items():
        artifact = channel.type()
        artifact.uri = str(folder / "artifacts" / component.id / name)
        Path(artifact.uri).mkdir(parents=True)
        outputs[name] = [artifact]
    _executor(component, folder).Do(inputs, outputs, dict(component.exec_properties))
    return {(component.id, name): each for name, each in outputs.items()}


def _executor(component: base_component.BaseComponent, folder: Path) -> base_executor.BaseExecutor:
    made = component.executor_spec.executor_class
    context = {"tmp_dir": str(folder / "tmp"), "unique_id": component.id}
    if issubclass(made, base_beam_executor.BaseBeamExecutor):
        return made(made.Context(beam_pipeline_args=[], **context))
    return made(made.Context(**context))
