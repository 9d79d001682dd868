"""What the driver says to a task, made into what TFX's container entrypoint understands."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

from components import durable_files
from kubeflow.container import system_types
from kubeflow.container.artifact_uris import local_path
from kubeflow.container.payloads import Payloads, resolved

Json = dict[str, Any]

# Written by the backend itself, of no use to a component.
_BACKEND_OUTPUT = "executor-logs"
_BACKEND_METADATA = ("store_session_info", "display_name")


def prepare(invocation: Json, inputs_spec: Json, payloads: Payloads | None = None) -> Json:
    """The executor input with local paths, the types TFX needs, and its metadata as TFX wrote it.

    Folders of the outputs are made, empty, since the launcher makes their parents only.

    Args:
        invocation: the ExecutorInput message as JSON.
        inputs_spec: the task's ComponentInputsSpec as JSON, which knows the types of the inputs;
            the driver hands them over without.
        payloads: where the outputs' payloads go, if not into the artifacts' own folders.
    """
    prepared = copy.deepcopy(invocation)
    outputs = prepared.setdefault("outputs", {})
    outputs.get("artifacts", {}).pop(_BACKEND_OUTPUT, None)
    outputs["outputFile"] = local_path(outputs["outputFile"])
    for name, found in prepared.get("inputs", {}).get("artifacts", {}).items():
        for index, artifact in enumerate(found.get("artifacts", [])):
            artifact["type"] = inputs_spec["artifacts"][name]["artifactType"]
            artifact["metadata"] = {
                **_metadata(artifact.get("metadata", {})),
                # For what a release says of its origin: the path below is this pod's alone.
                "remote_uri": artifact["uri"],
            }
            _localise(artifact, f"{name}-{index}")
            artifact["uri"] = resolved(artifact["uri"])
    for name, found in outputs.get("artifacts", {}).items():
        for artifact in found.get("artifacts", []):
            _localise(artifact, name)
            shown = system_types.is_one(artifact)
            artifact["type"] = system_types.for_tfx(artifact.get("type", {}))
            # A volume may still have there what an earlier try has written.
            if os.path.isdir(artifact["uri"]):
                durable_files.empty_folder(Path(artifact["uri"]))
            os.makedirs(artifact["uri"], exist_ok=True)
            if payloads and not shown:  # what Kubeflow's page opens stays where it looks
                artifact["uri"] = payloads.output(name)
    return prepared


def places(invocation: Json, prepared: Json) -> dict[str, str]:
    """Where a task has its artifacts -> their URIs.

    Args:
        invocation: the ExecutorInput message as JSON.
        prepared: what `prepare` has made of it.
    """
    return {
        here["uri"]: there["uri"]
        for side in ("inputs", "outputs")
        for name, found in prepared.get(side, {}).get("artifacts", {}).items()
        for here, there in zip(
            found.get("artifacts", []),
            invocation[side]["artifacts"][name].get("artifacts", []),
            strict=True,
        )
    }


def _localise(artifact: Json, name: str) -> None:
    artifact["uri"] = local_path(artifact["uri"])
    # TFX numbers artifacts by their names and fails on one without.
    artifact["name"] = artifact.get("name") or name


def _metadata(metadata: Json) -> Json:
    return {
        name: _unwrapped(value)
        for name, value in metadata.items()
        if name not in _BACKEND_METADATA and value is not None
    }


def _unwrapped(value: Any) -> Any:
    """Lists and structures lie in the metadata store in a structure of one field."""
    if isinstance(value, dict) and len(value) == 1:
        ((kind, inner),) = value.items()
        if kind in ("list", "struct"):
            return inner
    return value
