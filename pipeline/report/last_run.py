"""The record that a run on this machine leaves in its root."""

from __future__ import annotations

import datetime
import json
from typing import Any

from components.errors import PipelineError
from pipeline.edges import Edge
from pipeline.local.root import Root
from pipeline.report.collect import Component, Record


def read(root: Root, code: str = "") -> Record:
    """The latest run of a root.

    Args:
        root: with the record.
        code: fingerprint of the pipeline's code, for the page.

    Raises:
        PipelineError: the record is damaged.
    """
    record, finished = _read(root)
    return Record(
        name=str(record["config"].get("name", root.path.name)),
        finished=finished,
        config=record["config"],
        run=record.get("run") or {},
        components=[
            Component(
                str(each.get("name", "?")),
                str(each.get("state", "?")),
                float(each.get("seconds") or 0.0),
                dict(each.get("outputs") or {}),
            )
            for each in record["components"]
        ],
        edges=[Edge(*each) for each in record.get("edges") or []],
        error=str(record.get("error") or ""),
        root=root,
        code=code,
        locate=root.see,
    )


def _read(root: Root) -> tuple[dict[str, Any], datetime.datetime]:
    path = root.last_run
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        finished = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
    except (OSError, ValueError) as error:
        raise PipelineError(f"{path} cannot be read ({error}); run again") from error
    if (
        not isinstance(record, dict)
        or not isinstance(record.get("config"), dict)
        or not isinstance(record.get("components"), list)
    ):
        raise PipelineError(f"{path} is not the record of a run; run again")
    return record, finished
