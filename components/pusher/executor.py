"""Gathers what a release's manifest says and publishes the candidate."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from absl import logging
from tfx import types
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components import baseline
from components.errors import PipelineError
from components.evaluator import results
from components.example_gen import label_names
from components.release_store import store as release_store
from components.trainer import exported
from models.exported import FACTS


class Executor(base_executor.BaseExecutor):
    """See `components.pusher.component.ReleasePusher`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Publishes the candidate if it is blessed.

        Raises:
            PipelineError: the candidate is incomplete or the store cannot be written.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not _blessed(artifact_utils.get_single_instance(input_dict["model_blessing"])):
            evaluation = artifact_utils.get_single_instance(input_dict["evaluation"])
            reason = _refusal(results.read(evaluation.uri))
            pushed.set_int_custom_property("pushed", 0)
            pushed.set_string_custom_property("reason", reason)
            logging.warning("Nothing is released: %s.", reason)
            return
        model = artifact_utils.get_single_instance(input_dict["model"])
        picture = exported.release(model.uri) / exported.SAMPLES
        manifest = release_store.publish(
            exec_properties["serving_path"],
            exported.saved_models(model.uri),
            self._facts(input_dict, exec_properties, _read_model(model.uri)),
            exec_properties["push_id"],
            exec_properties["rollout"],
            picture if picture.is_file() else None,
        )
        with fileio.open(os.path.join(pushed.uri, "release.json"), "w") as file:
            file.write(json.dumps(manifest, indent=2) + "\n")
        store, version = exec_properties["serving_path"], manifest["version"]
        pushed.set_int_custom_property("pushed", 1)
        pushed.set_string_custom_property("pushed_destination", store)
        pushed.set_string_custom_property("pushed_version", str(version))
        now = release_store.served(store)
        state = now.state(version) if now else ""
        logging.info("Released version %d to %s; it is %s.", version, store, state or "not served")

    def _facts(
        self,
        inputs: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
        model: dict[str, Any],
    ) -> dict[str, Any]:
        """The manifest but for what the store adds itself."""
        artifacts = {
            name: artifact_utils.get_single_instance(found)
            for name, found in inputs.items()
            if found
        }
        evaluation = results.read(artifacts["evaluation"].uri)
        requested = exec_properties["baseline_version"]
        return {
            "codebook_sha256": model["codebook_sha256"],
            "model": model,
            "config": json.loads(exec_properties["config"]),
            "metrics": {name: _finite(value) for name, value in evaluation.metrics.items()},
            "gate": [
                {
                    "metric": check.metric,
                    "value": _finite(check.value),
                    "last_release": _finite(check.baseline),
                    "threshold": results.describe_check(check),
                    "note": check.note,
                }
                for check in evaluation.checks
            ],
            "baseline": (
                baseline.read(artifacts["baseline_model"].uri).version
                if "baseline_model" in artifacts
                else max(requested, 0)
            ),
            "baseline_requested": requested,
            "data": _data(artifacts["examples"]),
            "code_version": exec_properties["code_version"],
            "run_key": exec_properties["run_key"],
            "lineage": self._lineage(artifacts),
        }

    def _lineage(self, artifacts: dict[str, types.Artifact]) -> dict[str, Any]:
        """Where in ML Metadata to look for how the release came about."""
        context = self._context
        info = context.pipeline_info if context else None
        run_id = context.pipeline_run_id if context else None
        return {
            "pipeline": info.id if info else None,
            "pipeline_run_id": run_id or os.environ.get("KFP_RUN_ID"),
            # TFX hands the execution's id to executors as the name of their scratch folder.
            "execution_id": Path(context.get_tmp_path()).name if context else None,
            "artifacts": {
                # In a pod `uri` is a copy's path, and our entrypoint says of what.
                name: {
                    "id": artifact.id,
                    "uri": artifact.get_custom_property("remote_uri") or artifact.uri,
                }
                for name, artifact in sorted(artifacts.items())
            },
        }


def _finite(value: float | None) -> float | None:
    """JSON has no NaN; null says "not measurable" to every reader."""
    return value if value is not None and math.isfinite(value) else None


def _blessed(blessing: types.Artifact) -> bool:
    if blessing.has_custom_property("blessed"):
        return model_utils.is_model_blessed(blessing)
    return fileio.exists(os.path.join(blessing.uri, "BLESSED"))


def _refusal(evaluation: results.Evaluation) -> str:
    """Why the gate refused, in one line."""
    failed = [
        f"{check.metric} {results.format_number(check.value)}, {results.describe_check(check)}"
        for check in evaluation.checks
        if not check.ok
    ]
    return "the gate refused it: " + "; ".join(failed)


def _read_model(model_uri: str) -> dict[str, Any]:
    """What the Trainer says of the model: image shape, codes, hash of the codebook."""
    path = exported.release(model_uri) / FACTS
    try:
        model = json.loads(path.read_text(encoding="utf-8"))
        _ = model["codebook_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PipelineError(
            f"nothing released: {path} is missing or damaged; train the prior again"
        ) from error
    return model


def _data(examples: types.Artifact) -> dict[str, Any]:
    """Which data the model saw: what ExampleGen recorded of its input."""
    names = examples.get_custom_property(label_names.PROPERTY)
    return {
        "fingerprint": examples.get_custom_property("input_fingerprint"),
        # ExampleGen leaves the span as a custom property, the type declares it as its own.
        "span": examples.get_custom_property("span") or examples.span,
        "splits": list(examples.splits) if examples.split_names else [],
        **({"label_names": json.loads(names)} if names else {}),
    }
