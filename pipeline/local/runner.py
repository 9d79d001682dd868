"""TFX's LocalDagRunner that tells how each component goes."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable, Iterator

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import local_dag_runner, runner_utils
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from components import versions
from components.errors import finally_do
from pipeline.local.launcher import Launcher
from pipeline.local.root import Root


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


class ObservedDagRunner(local_dag_runner.LocalDagRunner):
    """Runs one component after the other, as LocalDagRunner does.

    Its loop is repeated here because it reports to nobody but the log, whose level libraries
    change while the pipeline runs.

    Attributes:
        components: those that have started, in that order.
    """

    def __init__(self, observe: Observer, root: Root):
        super().__init__()
        self.components: list[ComponentRun] = []
        self._observe, self._root = observe, root

    def run_with_ir(
        self,
        pipeline: pipeline_pb2.Pipeline,
        run_options: pipeline_pb2.RunOptions | None = None,
    ) -> None:
        """Runs a compiled pipeline; partial runs are not supported."""
        if run_options is not None:
            raise ValueError("partial runs are not supported. Received: run_options")
        run_id = datetime.datetime.now().isoformat()
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        choice = deployment.metadata_connection_config
        connection = getattr(choice, choice.WhichOneof("connection_config"))
        for node in (entry.pipeline_node for entry in pipeline.nodes):
            name = node.node_info.id
            # For its cache key, and for ML Metadata, which then knows what made an artifact.
            parameter = node.parameters.parameters["library_versions"]
            parameter.field_value.string_value = versions.library_versions()
            component_launcher = Launcher(
                pipeline_node=node,
                mlmd_connection=metadata.Metadata(connection),
                pipeline_info=pipeline.pipeline_info,
                pipeline_runtime_spec=pipeline.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, name),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
            )
            with self._observed(name) as component:
                execution = component_launcher.launch()
                component.state, uris = _result(connection, execution.execution_id)
                component.outputs = {name: self._root.found(uri) for name, uri in uris.items()}

    @contextlib.contextmanager
    def _observed(self, name: str) -> Iterator[ComponentRun]:
        component = ComponentRun(name)
        self.components.append(component)
        self._observe(component)
        started = time.monotonic()

        def end() -> None:
            component.seconds = time.monotonic() - started
            self._observe(component)

        with finally_do(end, f"the end of {name} cannot be shown"):
            try:
                yield component
            except BaseException:
                component.state = "failed"
                raise


def _result(
    connection: metadata_store_pb2.ConnectionConfig, execution_id: int
) -> tuple[str, dict[str, str]]:
    """State of an execution, and the URIs of its outputs."""
    with metadata.Metadata(connection) as handle:
        (execution,) = handle.store.get_executions_by_id([execution_id])
        names = {
            event.artifact_id: event.path.steps[0].key
            for event in handle.store.get_events_by_execution_ids([execution_id])
            if event.type == metadata_store_pb2.Event.OUTPUT
        }
        artifacts = handle.store.get_artifacts_by_id(list(names))
    cached = execution.last_known_state == metadata_store_pb2.Execution.CACHED
    return "cached" if cached else "ran", {names[each.id]: each.uri for each in artifacts}
