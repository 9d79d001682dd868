"""DataGate: stops the run when the data has anomalies, which ExampleValidator only records."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.types.experimental import simple_artifacts

from components.data_gate.executor import Executor


class DataGateSpec(types.ComponentSpec):
    """Interface of `DataGate`."""

    PARAMETERS = {"code_version": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }
    OUTPUTS = {
        "blessing": component_spec.ChannelParameter(type=simple_artifacts.File),
    }


class DataGate(base_component.BaseComponent):
    """Passes when no split has an anomaly and the labels make sense across the splits.

    What must wait for it, and takes nothing from it, names it as an upstream node:
    `transform.add_upstream_node(data_gate)`.

    Component `outputs` contains:
     - `blessing`: a File, `data.json`, what the gate saw; only there when the data passed.
    """

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self, anomalies: types.BaseChannel, statistics: types.BaseChannel, *, code_version: str
    ) -> None:
        """Args:
        anomalies: ExampleValidator's output.
        statistics: StatisticsGen's output, which those anomalies are about.
        code_version: of our sources; part of the cache key.
        """
        super().__init__(
            spec=DataGateSpec(
                anomalies=anomalies,
                statistics=statistics,
                code_version=code_version,
                blessing=types.Channel(type=simple_artifacts.File),
            )
        )
