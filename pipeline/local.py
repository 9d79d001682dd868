"""Runs the pipeline on this machine: where things lie, what a run depends on, its record."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

from tfx.orchestration import metadata

from components import release_store
from components.errors import one_line
from components.literal_paths import is_text
from pipeline.config import Config
from pipeline.dag import Run, code_fingerprint, create_pipeline
from pipeline.root import Root
from pipeline.runner import ComponentRun, ObservedDagRunner, Observer


def plan(config: Config, data: str, root: Root) -> Run:
    """Where a run reads and writes; decides what it is compared with before it starts."""
    serving = os.path.abspath(config.release.path or root.serving)
    run_key = _run_key(config, data) if config.runtime.cache else ""
    baseline_version, push_id = release_store.plan(serving, run_key)
    return Run(
        data=_named(os.path.abspath(data), root),
        pipeline_root=str(root.plain().artifacts),
        checkpoints=str(root.plain().checkpoints),
        serving=root.see(serving),
        run_key=run_key,
        baseline_version=baseline_version,
        push_id=push_id,
        rejected=str(root.rejected),
    )


def run_pipeline(config: Config, run: Run, root: Root, observe: Observer) -> list[ComponentRun]:
    """Runs every component in turn.

    Args:
        config: what to do.
        run: with which data, and where.
        root: for the metadata and the record of the run.
        observe: called when a component starts and when it ends.

    Returns:
        the components in the order in which they ran. The same is left in `last_run.json`.

    Raises:
        Exception: what the component that failed raised.
    """
    root.path.mkdir(parents=True, exist_ok=True)
    connection = metadata.sqlite_metadata_connection_config(str(root.plain().metadata))
    pipeline = create_pipeline(config, run, connection)
    runner = ObservedDagRunner(observe, root)
    error = ""
    try:
        runner.run(pipeline)
    except BaseException as failure:
        error = one_line(failure)
        raise
    finally:
        record = {
            "error": error,
            "config": config.model_dump(mode="json"),
            "run": dataclasses.asdict(run),
            "components": [dataclasses.asdict(component) for component in runner.components],
        }
        root.last_run.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return runner.components


def _named(data: str, root: Root) -> str:
    """A path of the data that ML Metadata can store: a link, if its own is no UTF-8."""
    if is_text(data):
        return data
    link = root.plain().data_links / hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(data)
    return str(link)


def _run_key(config: Config, data: str) -> str:
    """Hash of all that a run's results depend on: configuration, code, and the data's files."""
    folder = Path(data.partition("{")[0])  # of a pattern such as data/span-{SPAN}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = [
        config.model_dump_json(),
        code_fingerprint(),
        os.path.abspath(data),
        *(f"{path}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files),
    ]
    return hashlib.sha256(os.fsencode("\n".join(facts))).hexdigest()
