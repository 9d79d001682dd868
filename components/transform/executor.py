"""TFX's Transform executor with the batch size that its component was given."""

from __future__ import annotations

from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.components.transform import executor
from tfx.types import standard_component_specs
from tfx.utils import json_utils

# Key of the custom config.
BATCH_SIZE = "batch_size"


class Executor(executor.Executor):
    """Left alone, Transform grows its batches up to 1,000 records (tensorflow/tfx#5777)."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Runs Transform; the custom config's `batch_size` is the most records in one batch."""
        custom = json_utils.loads(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        self._batch_size = int(custom[BATCH_SIZE])
        super().Do(input_dict, output_dict, exec_properties)

    def _GetDesiredBatchSize(self, data_format: int, schema: schema_pb2.Schema) -> int | None:
        return self._batch_size
