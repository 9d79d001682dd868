"""ImageStatisticsGen: what TensorFlow Data Validation computes of ingested images."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.statistics_gen.executor import Executor


class ImageStatisticsGenSpec(types.ComponentSpec):
    """Interface of `ImageStatisticsGen`."""

    PARAMETERS = {"code_version": component_spec.ExecutionParameter(type=str)}
    INPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics)
    }


class ImageStatisticsGen(base_beam_component.BaseBeamComponent):
    """Statistics in bounded memory, with the files of a split spread over all workers.

    TFX's StatisticsGen reads all files of a split through one worker on Flink, and holds every
    different image in memory to say which are the most frequent.

    Component `outputs` contains:
     - `statistics`: `standard_artifacts.ExampleStatistics`, of every split.
    """

    SPEC_CLASS = ImageStatisticsGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, examples: types.BaseChannel, *, code_version: str) -> None:
        """Args:
        examples: as ImageExampleGen writes them.
        code_version: of our sources; part of the cache key.
        """
        super().__init__(
            ImageStatisticsGenSpec(
                examples=examples,
                code_version=code_version,
                statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
            )
        )
