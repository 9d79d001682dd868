"""Which span TFX's driver of ImageExampleGen reads, and the fingerprint that it records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tfx.components.example_gen import driver, input_processor
from tfx.components.example_gen.utils import FINGERPRINT_PROPERTY_NAME
from tfx.orchestration import data_types
from tfx.proto import example_gen_pb2, range_config_pb2

from components.errors import PipelineError
from components.example_gen import input_files, settings


class InputProcessor(input_processor.FileBasedInputProcessor):
    """TFX's, by `input_files.find`: paths are literal, times of change exact, padding kept."""

    def __init__(
        self,
        input_base_uri: str,
        splits: Iterable[example_gen_pb2.Input.Split],
        range_config: range_config_pb2.RangeConfig | None = None,
    ) -> None:
        super().__init__(input_base_uri, splits, range_config)
        self._range_config = range_config
        self._concrete: dict[str, str] = {}  # pattern -> the same without placeholders

    def resolve_span_and_version(self) -> tuple[int, int | None]:
        found = input_files.find(self._input_base_uri, self._splits, self._range_config)
        self._fingerprint = found.fingerprint
        for split, read in zip(self._splits, found.splits, strict=True):
            self._concrete[split.pattern] = read.pattern
        return found.span, found.version

    def get_pattern_for_span_version(self, pattern: str, span: int, version: int | None) -> str:
        return self._concrete[pattern]


class Driver(driver.FileBasedDriver):
    """See `components.example_gen.component.ImageExampleGen`."""

    def get_input_processor(
        self,
        splits: Iterable[example_gen_pb2.Input.Split],
        range_config: range_config_pb2.RangeConfig | None = None,
        input_base_uri: str | None = None,
    ) -> InputProcessor:
        return InputProcessor(input_base_uri or "", splits, range_config)  # TFX always has one

    def resolve_exec_properties(
        self,
        exec_properties: dict[str, Any],
        pipeline_info: data_types.PipelineInfo | None = None,
        component_info: data_types.ComponentInfo | None = None,
    ) -> dict[str, Any]:
        """Adds span, version and fingerprint; the patterns lose their placeholders.

        Raises:
            PipelineError: no files, or others than those that the run was planned with.
        """
        resolved = super().resolve_exec_properties(exec_properties, pipeline_info, component_info)
        planned = settings.read(exec_properties)["fingerprint"]
        if planned and planned != resolved[FINGERPRINT_PROPERTY_NAME]:
            raise PipelineError(
                f"ImageExampleGen: the files in {exec_properties['input_base']} changed while the "
                "run began; run it again once they are written"
            )
        return resolved
