"""What TFX's executor reports, made into what the launcher accepts.

An artifact whose `uri` is a local path is uploaded nowhere, with no more than a warning, and a
null in its metadata fails the task.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kubeflow.container import system_types
from kubeflow.container.artifact_uris import ArtifactUris

Json = dict[str, Any]


def read(path: str) -> Json:
    """The ExecutorOutput message that a driver or an executor left, as JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def finish(path: str, outputs: Json, uris: ArtifactUris, driver: Json) -> Json:
    """Rewrites the output file for the launcher and returns what it says.

    Args:
        path: the file that the executor wrote.
        outputs: of the ExecutorInput message, as the driver has made it.
        uris: of the task's artifacts.
        driver: what the driver reported before, whose metadata the executor's file lacks.
    """
    output = read(path)
    for name, found in output.get("artifacts", {}).items():
        for index, artifact in enumerate(found.get("artifacts", [])):
            before = _artifact(driver, name, index).get("metadata", {})
            metadata = {**before, **_present(artifact.get("metadata", {}))}
            artifact["metadata"] = uris.restored(_present(metadata))
            kind = _artifact(outputs, name, index).get("type", {})
            artifact["uri"] = system_types.shown(kind, uris.restored(artifact["uri"]))
    Path(path).write_text(json.dumps(output), encoding="utf-8")
    return output


def metadata(output: Json, name: str) -> Json:
    """The metadata of a task's output."""
    return _artifact(output, name, 0).get("metadata", {})


def _artifact(side: Json, name: str, index: int) -> Json:
    artifacts = side.get("artifacts", {}).get(name, {}).get("artifacts", [])
    return artifacts[index] if index < len(artifacts) else {}


def _present(value: Any) -> Any:
    """Without nulls."""
    if isinstance(value, dict):
        return {name: _present(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_present(item) for item in value if item is not None]
    return value
