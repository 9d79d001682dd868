"""Runs the pipeline on this machine: where things lie, what a run depends on, its record."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

from tfx.orchestration import metadata

from components import durable_files, library_versions, releases
from components.errors import PipelineError, after, one_line
from components.object_store import is_remote
from pipeline.config import Config
from pipeline.dag import Run, code_fingerprint, create_pipeline
from pipeline.root import Root
from pipeline.runner import ComponentRun, ObservedDagRunner, Observer


def plan(config: Config, data: str, root: Root) -> Run:
    """Where a run reads and writes; decides what it is compared with before it starts."""
    serving = _store(config.release.path or str(root.serving))
    run_key = _run_key(config, data) if config.runtime.cache else ""
    baseline_version, push_id = releases.plan(serving, run_key)
    return Run(
        data=os.path.abspath(data),
        pipeline_root=str(root.artifacts),
        checkpoints=str(root.checkpoints),
        serving=serving,
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
        Exception: what the component that failed raised. Where none has started, for the data
            or the configuration cannot be used, `last_run.json` stays that of the run before.
    """
    root.path.mkdir(parents=True, exist_ok=True)
    connection = metadata.sqlite_metadata_connection_config(str(root.metadata))
    pipeline = create_pipeline(config, run, connection)
    runner = ObservedDagRunner(observe)

    def record(error: str) -> None:
        facts = {
            "error": error,
            "config": config.model_dump(mode="json"),
            "run": dataclasses.asdict(run),
            "components": [dataclasses.asdict(component) for component in runner.components],
        }
        _write(root.last_run, json.dumps(facts, indent=2) + "\n")

    try:
        runner.run(pipeline)
    except BaseException as failure:
        if runner.components:
            with after(failure, "there is no record of this run"):
                record(one_line(failure))
        raise
    record("")
    return runner.components


def _store(location: str) -> str:
    """The release store as components are told of it, wherever they run: a URI stays one."""
    return location.rstrip("/") if is_remote(location) else os.path.abspath(location)


def _write(path: Path, text: str) -> None:
    try:
        with durable_files.appearing(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PipelineError(
            f"{path} cannot be written ({error.strerror or error}); make room and run again"
        ) from error


def _run_key(config: Config, data: str) -> str:
    """Hash of all that a run's results depend on: configuration, code, libraries, data files."""
    folder = Path(data.partition("{")[0])  # of a pattern such as data/span-{SPAN}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = [
        config.model_dump_json(),
        code_fingerprint(),
        library_versions.describe(),
        os.path.abspath(data),
        *(f"{path}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files),
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()
