"""Runs the pipeline on this machine, and tells how each component went."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging as absl_logging
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.local import local_dag_runner

from components import release_store
from components.code_version import whole_code_version
from pipeline.config import Config
from pipeline.dag import Run, create_pipeline


@dataclasses.dataclass(frozen=True)
class Root:
    """The directory of a pipeline's runs, and what lies in it."""

    path: Path

    @property
    def artifacts(self) -> Path:
        return self.path / "pipeline"

    @property
    def metadata(self) -> Path:
        return self.path / "metadata.sqlite"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def serving(self) -> Path:
        return self.path / "serving"

    @property
    def report(self) -> Path:
        return self.path / "report" / "index.html"

    @property
    def last_run(self) -> Path:
        return self.path / "last_run.json"

    @property
    def log(self) -> Path:
        return self.path / "logs" / "run.log"


@dataclasses.dataclass
class ComponentRun:
    """How one component went.

    Attributes:
        name: component id.
        state: `running`, `ran`, `cached` or `failed`.
        seconds: wall-clock.
        outputs: output name -> directory of the artifact.
    """

    name: str
    state: str = "running"
    seconds: float = 0.0
    outputs: dict[str, str] = dataclasses.field(default_factory=dict)


Observer = Callable[[ComponentRun], None]


def plan(config: Config, data: str, root: Root) -> Run:
    """Where a run reads and writes; decides what it is compared with before it starts."""
    serving = config.release.path or str(root.serving)
    run_key = _run_key(config, data) if config.runtime.cache else ""
    baseline_version, push_id = release_store.plan(serving, run_key)
    return Run(
        data=os.path.abspath(data),
        pipeline_root=str(root.artifacts),
        checkpoints=str(root.checkpoints),
        serving=serving,
        run_key=run_key,
        baseline_version=baseline_version,
        push_id=push_id,
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
    connection = metadata.sqlite_metadata_connection_config(str(root.metadata))
    pipeline = create_pipeline(config, run, connection)
    watch = _Watch(connection, config.name, observe)
    with _watching(watch):
        try:
            local_dag_runner.LocalDagRunner().run(pipeline)
        except BaseException:
            watch.failed()
            raise
        finally:
            record = {
                "config": config.model_dump(mode="json"),
                "run": dataclasses.asdict(run),
                "components": [dataclasses.asdict(component) for component in watch.components],
            }
            root.last_run.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return watch.components


class _Watch(logging.Handler):
    """Follows the local runner, which says when a component starts and ends in its log."""

    RUNNING, FINISHED = "Component %s is running.", "Component %s is finished."

    def __init__(
        self,
        connection: metadata_store_pb2.ConnectionConfig,
        pipeline_name: str,
        observe: Observer,
    ):
        super().__init__(logging.INFO)
        self.components: list[ComponentRun] = []
        self._connection, self._pipeline_name, self._observe = connection, pipeline_name, observe
        self._started = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == self.RUNNING:
            self._started = time.monotonic()
            self.components.append(ComponentRun(str(record.args[0])))
            self._observe(self.components[-1])
        elif record.msg == self.FINISHED:
            state, outputs = self._result(str(record.args[0]))
            self._end(state, outputs)

    def failed(self) -> None:
        if self.components and self.components[-1].state == "running":
            self._end("failed", {})

    def _end(self, state: str, outputs: dict[str, str]) -> None:
        component = self.components[-1]
        component.seconds = time.monotonic() - self._started
        component.state, component.outputs = state, outputs
        self._observe(component)

    def _result(self, name: str) -> tuple[str, dict[str, str]]:
        """State and outputs of a component's latest execution."""
        with metadata.Metadata(self._connection) as handle:
            store = handle.store
            node = store.get_context_by_type_and_name("node", f"{self._pipeline_name}.{name}")
            executions = store.get_executions_by_context(node.id)
            execution = max(executions, key=lambda execution: execution.id)
            names = {
                event.artifact_id: event.path.steps[0].key
                for event in store.get_events_by_execution_ids([execution.id])
                if event.type == metadata_store_pb2.Event.OUTPUT
            }
            artifacts = store.get_artifacts_by_id(list(names))
        cached = execution.last_known_state == metadata_store_pb2.Execution.CACHED
        return "cached" if cached else "ran", {names[each.id]: each.uri for each in artifacts}


@contextlib.contextmanager
def _watching(watch: _Watch) -> Iterator[None]:
    logger = absl_logging.get_absl_logger()
    logger.addHandler(watch)
    try:
        yield
    finally:
        logger.removeHandler(watch)


def _run_key(config: Config, data: str) -> str:
    """Hash of all that a run's results depend on: configuration, code, and the data's files."""
    files = sorted(path for path in Path(data).rglob("*") if path.is_file())
    facts = [
        config.model_dump_json(),
        whole_code_version(),
        os.path.abspath(data),
        *(f"{path}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files),
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()
