"""Runs the pipeline on this machine: where things lie, what a run depends on, its record."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

from tfx.orchestration import metadata

from components import durable_files, versions
from components.data_gate import imported_schema
from components.errors import PipelineError, after, one_line
from components.example_gen import input_files, layout
from components.example_gen.layout import Layout
from components.literal_paths import is_text
from components.object_store.folder import is_remote
from components.release_store import store as release_store
from pipeline.code_fingerprint import code_fingerprint
from pipeline.config.config import Config
from pipeline.dag import Run, create_pipeline
from pipeline.edges import edges
from pipeline.local import lineage
from pipeline.local.root import Root
from pipeline.local.runner import ComponentRun, ObservedDagRunner, Observer


def plan_run(config: Config, data: str, root: Root) -> Run:
    """Where a run reads and writes; decides what it is compared with before it starts.

    Raises:
        PipelineError: it is not clear which files are the data, or the release store is damaged.
    """
    serving = _store(config.release.path or str(root.serving))
    # Looked at first, and checked by ExampleGen: the key speaks of the files that are read.
    data = _named(os.path.abspath(data), root)
    found = layout.input_config_for(data)
    fingerprint = _fingerprint(found)
    run_key = _run_key(config, data) if config.runtime.cache else ""
    baseline_version, push_id = release_store.plan(serving, run_key)
    if run_key and not lineage.has_results_of_push(str(root.plain().metadata), push_id):
        # Without the earlier run's results all is made again, as a candidate of its own.
        baseline_version, push_id = release_store.plan(serving, "")
    return Run(
        data=data,
        data_fingerprint=fingerprint,
        data_left_out=found.left_out,
        pipeline_root=str(root.plain().artifacts),
        checkpoints=str(root.plain().checkpoints),
        serving=root.see(serving),
        run_key=run_key,
        baseline_version=baseline_version,
        push_id=push_id,
        rejected=str(root.plain().rejected),
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
    connection = metadata.sqlite_metadata_connection_config(str(root.plain().metadata))
    pipeline = create_pipeline(config, run, connection)
    runner = ObservedDagRunner(observe, root)

    def record(error: str) -> None:
        facts = {
            "error": error,
            "config": config.model_dump(mode="json"),
            "run": dataclasses.asdict(run),
            "edges": edges(pipeline.components),
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


def _named(data: str, root: Root) -> str:
    """A path of the data that ML Metadata can store: a link, if its own is no UTF-8."""
    if is_text(data):
        return data
    link = root.plain().data_links / hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(data)
    return str(link)


def _write(path: Path, text: str) -> None:
    try:
        with durable_files.appearing(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PipelineError(
            f"{path} cannot be written ({error.strerror or error}); make room and run again"
        ) from error


def _run_key(config: Config, data: str) -> str:
    """Hash of all that a run's results depend on: configuration, code, libraries, data, schema."""
    facts = [
        config.model_dump_json(),
        code_fingerprint(),
        versions.library_versions(),
        data,
        _fingerprint(layout.input_config_for(data)),
        imported_schema.content(config.data.schema_path or ""),
    ]
    return hashlib.sha256(os.fsencode("\n".join(facts))).hexdigest()


def _fingerprint(data: Layout) -> str:
    """Of the files that ImageExampleGen reads."""
    return input_files.find(data.input_base, data.input_config.splits).fingerprint
