"""TFX's launcher of one component, for a root whose metadata may have been lost.

Output folders are numbered by ML Metadata. Where `metadata.sqlite` was removed, or is an older
copy, the numbers come again, and with them folders that hold what an unknown run has left.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfx import types
from tfx.orchestration.portable import (
    beam_executor_operator,
    data_types,
    launcher,
    outputs_utils,
)
from tfx.proto.orchestration import execution_result_pb2, placeholder_pb2

from components import durable_files
from components.errors import PipelineError, after
from pipeline.engines import submission

LOGGER = logging.getLogger("vqvae.launcher")


class Launcher(launcher.Launcher):
    """Gives every executor empty output folders, and tells why it failed whatever comes after.

    The methods are those steps of TFX's `launch` that need care.
    """

    def _run_executor(
        self, execution_info: data_types.ExecutionInfo
    ) -> execution_result_pb2.ExecutorOutput:
        name = execution_info.pipeline_node.node_info.id
        outputs = [each for found in execution_info.output_dict.values() for each in found]
        if emptied := [Path(artifact.uri) for artifact in outputs if self._emptied(artifact)]:
            LOGGER.warning(
                "removed what a run that the metadata does not know had left in %s",
                ", ".join("/".join(folder.parts[-3:]) for folder in emptied),
            )
        # TFX would take that run's report of success for one of this executor's.
        Path(execution_info.execution_output_uri).unlink(missing_ok=True)
        outputs_utils.make_output_dirs(execution_info.output_dict)
        try:
            with self._submitted(name):
                output = self._executor_operator.run_executor(execution_info)
            if output.execution_result.code:
                raise PipelineError(f"{name}: {output.execution_result.result_message}")
        except Exception as failure:
            with after(failure, "what it had written is left"):
                outputs_utils.remove_output_dirs(execution_info.output_dict)
            raise
        return output

    @contextlib.contextmanager
    def _submitted(self, name: str) -> Iterator[None]:
        """Completes the arguments of a component that runs on Beam, for this execution alone.

        In the pipeline they would be part of the cache keys.
        """
        operator = self._executor_operator
        if not isinstance(operator, beam_executor_operator.BeamExecutorOperator):
            yield
            return
        arguments = [each.value.string_value for each in operator.beam_pipeline_args]
        with submission.submitted(arguments, name) as own:
            operator.beam_pipeline_args = [
                placeholder_pb2.PlaceholderExpression(value={"string_value": each}) for each in own
            ]
            yield

    def _emptied(self, artifact: types.Artifact) -> bool:
        """Empties the folder of an artifact that is about to be made; whether it held anything.

        Raises:
            PipelineError: the metadata knows an artifact there, which somebody may need.
        """
        folder = Path(artifact.uri)
        if not folder.is_dir() or not any(folder.iterdir()):
            return False
        with self._mlmd_connection as handle:
            known = handle.store.get_artifacts_by_uri(artifact.uri)
        if known:
            raise PipelineError(
                f"{folder} holds artifact {known[0].id} of an earlier run, and would be written "
                "anew: the metadata and the artifacts of this run root do not belong together; "
                "name another --root"
            )
        durable_files.empty_folder(folder)
        return True

    def _publish_failed_execution(self, *arguments: Any, **options: Any) -> None:
        with after(sys.exception(), "the metadata does not say that it failed"):
            super()._publish_failed_execution(*arguments, **options)

    def _clean_up_stateless_execution_info(self, execution_info: data_types.ExecutionInfo) -> None:
        with after(sys.exception(), f"{execution_info.tmp_dir} is left"):
            super()._clean_up_stateless_execution_info(execution_info)
