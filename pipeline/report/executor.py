"""Builds the page of a run from the artifacts of the components before."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components import durable_files
from pipeline import component_ids as ids
from pipeline.edges import Edge
from pipeline.report import judgement, pictures
from pipeline.report.artifacts import PAGE
from pipeline.report.collect import FINISHED, Collected, Component, Record, collect
from pipeline.report.render import render

# Input -> the component and its output.
INPUTS = {
    "examples": (ids.EXAMPLE_GEN, "examples"),
    "anomalies": (ids.EXAMPLE_VALIDATOR, "anomalies"),
    "transformed_examples": (ids.TRANSFORM, "transformed_examples"),
    "vqvae_run": (ids.TRAINERS["vqvae"], "model_run"),
    "codes": (ids.TOKENIZER, "codes"),
    "model": (ids.TRAINERS["prior"], "model"),
    "prior_run": (ids.TRAINERS["prior"], "model_run"),
    "evaluation": (ids.EVALUATOR, "evaluation"),
    "pushed_model": (ids.PUSHER, "pushed_model"),
}


class Executor(base_executor.BaseExecutor):
    """See `pipeline.report.component.Report`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the page, and sets the metrics.

        A part that cannot be read is named on the page, as in a report that is built later.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        collected = collect(_record(input_dict, exec_properties))
        folder = Path(artifact_utils.get_single_uri(output_dict["report"]))
        folder.mkdir(parents=True, exist_ok=True)
        with durable_files.appearing(folder / PAGE) as unfinished:
            unfinished.write_text(render(collected), encoding="utf-8", errors="backslashreplace")
        if collected.pictures:
            pictures.write(collected.pictures, folder)
        metrics = artifact_utils.get_single_instance(output_dict["metrics"])
        for name, value in _metrics(collected).items():
            if isinstance(value, str):
                metrics.set_string_custom_property(name, value)
            else:
                metrics.set_float_custom_property(name, value)


def _record(input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]) -> Record:
    """The run as its last component knows it: what has been made, not how long that took."""
    connections = [Edge(*each) for each in json.loads(exec_properties["edges"])]
    names = dict.fromkeys(name for edge in connections for name in edge[:2])
    outputs: dict[str, dict[str, str]] = {name: {} for name in names}
    places = {}
    for name, (component, output) in INPUTS.items():
        artifact = artifact_utils.get_single_instance(input_dict[name])
        # In a pod `uri` is a copy's path, and our entrypoint says of what.
        uri = artifact.get_custom_property("remote_uri") or artifact.uri
        outputs.setdefault(component, {})[output] = uri
        places[uri] = artifact.uri
    config = json.loads(exec_properties["config"])
    facts = {name: exec_properties[name] for name in ("serving", "run_key", "push_id")}
    return Record(
        name=str(config.get("name", "")),
        finished=datetime.datetime.now(datetime.UTC),
        config=config,
        run={"data": exec_properties["data_path"], **facts},
        components=[Component(name, FINISHED, None, made) for name, made in outputs.items()],
        edges=connections,
        code=exec_properties["pipeline_code"],
        locate=lambda uri: places.get(uri, uri),
    )


def _metrics(collected: Collected) -> dict[str, str | float]:
    """What Kubeflow's page lists, and compares between runs."""
    verdict = judgement.verdict(collected)
    found: dict[str, str | float] = {"verdict": verdict.title, "reason": verdict.detail}
    if collected.manifest is not None:
        found["released_version"] = float(collected.manifest["version"])
    measured = collected.evaluation.metrics if collected.evaluation else {}
    # Neither JSON nor the metadata store has a NaN.
    return found | {name: value for name, value in measured.items() if math.isfinite(value)}
