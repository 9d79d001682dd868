"""Artifacts of Kubeflow's own types: its pages show a `system.HTML` and list a `system.Metrics`.

TFX writes the type of an artifact into the spec as a schema of its own, and reads it back as the
path of a Python class. Kubeflow knows its types by their titles alone.
"""

from __future__ import annotations

from typing import Any

import yaml

from pipeline.report.artifacts import HTML, PAGE, Metrics

Json = dict[str, Any]

_TYPES = {kind.TYPE_NAME: kind for kind in (HTML, Metrics)}
# As the SDK of Kubeflow Pipelines has it.
_VERSION = "0.0.1"


def in_spec(artifact_type: Json) -> Json:
    """The type of an output as Kubeflow writes it, if it is one of its own; else as it is."""
    title = yaml.safe_load(artifact_type.get("instanceSchema") or "{}").get("title")
    if title not in _TYPES:
        return artifact_type
    return {"schemaTitle": title, "schemaVersion": _VERSION}


def is_one(artifact: Json) -> bool:
    """Whether an artifact of the ExecutorInput message is of one of Kubeflow's types."""
    return artifact.get("type", {}).get("schemaTitle") in _TYPES


def for_tfx(artifact_type: Json) -> Json:
    """The opposite: the type as TFX's entrypoint finds its class."""
    kind = _TYPES.get(artifact_type.get("schemaTitle", ""))
    if kind is None:
        return artifact_type
    return {"instanceSchema": f"title: {kind.__module__}.{kind.__qualname__}\n"}


def shown(artifact_type: Json, uri: str) -> str:
    """What Kubeflow's page is to open of an artifact at `uri`: of an HTML its one file."""
    is_page = artifact_type.get("schemaTitle") == HTML.TYPE_NAME
    return f"{uri.rstrip('/')}/{PAGE}" if is_page else uri
