"""Component that reports a run: the page and the numbers, whatever the gate has said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import BaseChannel, Channel, component_spec, standard_artifacts

from pipeline.edges import Edge
from pipeline.report.artifacts import HTML, Metrics
from pipeline.report.executor import Executor


def _input(kind: type) -> component_spec.ChannelParameter:
    return component_spec.ChannelParameter(type=kind)


class ReportSpec(component_spec.ComponentSpec):
    """Interface of `Report`; the inputs are those of `pipeline.report.executor.INPUTS`."""

    PARAMETERS = {
        name: component_spec.ExecutionParameter(type=str)
        for name in (
            *("config", "edges", "data_path", "serving", "run_key", "push_id"),
            *("pipeline_code", "code_version"),
        )
    }
    INPUTS = {
        "examples": _input(standard_artifacts.Examples),
        "anomalies": _input(standard_artifacts.ExampleAnomalies),
        "transformed_examples": _input(standard_artifacts.Examples),
        "vqvae_run": _input(standard_artifacts.ModelRun),
        "codes": _input(standard_artifacts.Examples),
        "model": _input(standard_artifacts.Model),
        "prior_run": _input(standard_artifacts.ModelRun),
        "evaluation": _input(standard_artifacts.ModelEvaluation),
        "pushed_model": _input(standard_artifacts.PushedModel),
    }
    OUTPUTS = {
        "report": component_spec.ChannelParameter(type=HTML),
        "metrics": component_spec.ChannelParameter(type=Metrics),
    }


class Report(base_component.BaseComponent):
    """Shows what came of a run: a released candidate, a refused one, or a canary.

    Outputs:
        report: HTML, the page; beside it the pictures on it as arrays, for a page that is built
            later.
        metrics: Metrics, those of the candidate, with `verdict`, `reason`, and `released_version`
            where there is a release.
    """

    SPEC_CLASS = ReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        inputs: Mapping[str, BaseChannel],
        edges: Sequence[Edge],
        config: str,
        data: str,
        serving: str,
        run_key: str = "",
        push_id: str = "",
        pipeline_code: str = "",
        code_version: str = "",
    ):
        """Args:
        inputs: a channel for each of the interface's inputs.
        edges: the connections of all components before this one.
        config: the run's configuration as JSON.
        data: where the run read its images.
        serving: the release store.
        run_key: hash of all that the run depends on.
        push_id: what the push of this run is called.
        pipeline_code: hash of the code that the results depend on.
        code_version: hash of this component's code, for the cache key.
        """
        super().__init__(
            spec=ReportSpec(
                **inputs,
                edges=json.dumps(edges),
                config=config,
                data_path=data,
                serving=serving,
                run_key=run_key,
                push_id=push_id,
                pipeline_code=pipeline_code,
                code_version=code_version,
                report=Channel(type=HTML),
                metrics=Channel(type=Metrics),
            )
        )
