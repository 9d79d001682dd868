"""ReconstructionEvaluator: measures the candidate beside the last release and blesses it or not.

It is TFX's Evaluator with a fixed set of metrics and a gate from the configuration.
"""

from __future__ import annotations

import math

import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2
from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import json_utils

from components import features
from components.evaluator import executor
from components.evaluator.config import HIGHER_IS_BETTER, METRICS, GateConfig, Threshold

SIGNATURE = "evaluate"


class ReconstructionEvaluatorSpec(types.ComponentSpec):
    """Interface of `ReconstructionEvaluator`; the keys are those of TFX's Evaluator."""

    PARAMETERS = {
        "eval_config": component_spec.ExecutionParameter(type=str),
        "gate": component_spec.ExecutionParameter(type=str),
        "example_splits": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": component_spec.ChannelParameter(
            type=standard_artifacts.Model, optional=True
        ),
    }
    OUTPUTS = {
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class ReconstructionEvaluator(base_beam_component.BaseBeamComponent):
    """Measures every metric of models/metrics.py on the held-out split, overall and per label.

    Outputs `evaluation` (TFMA results, read with `components.evaluator.results.read`) and
    `blessing` (a `BLESSED` or `NOT_BLESSED` file and TFX's custom properties).
    """

    SPEC_CLASS = ReconstructionEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        gate: GateConfig,
        num_codes: int,
        image: tuple[int, int, int],
        baseline_model: types.BaseChannel | None = None,
        example_splits: tuple[str, ...] = ("eval",),
        code_version: str = "",
    ):
        """Makes the component.

        Args:
            examples: transformed Examples.
            model: the candidate, a SavedModel with the signature `evaluate`.
            gate: thresholds on the metrics of the whole split.
            num_codes: K, size of the candidate's codebook.
            image: H, W, C of the images.
            baseline_model: the last release as `components.baseline` hands it out; where it
                holds none, thresholds on change do not apply.
            example_splits: splits that are measured, together.
            code_version: changes when the code does, so that no stale result is reused.
        """
        config = eval_config(gate, num_codes, image)
        super().__init__(
            spec=ReconstructionEvaluatorSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                eval_config=to_json(config),
                gate=gate.model_dump_json(),
                example_splits=json_utils.dumps(list(example_splits)),
                code_version=code_version,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )


def eval_config(gate: GateConfig, num_codes: int, image: tuple[int, int, int]) -> tfma.EvalConfig:
    """What TFMA measures and checks: all metrics, overall and per label, against the gate."""
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(model_type=tfma.TF_GENERIC, signature_name=SIGNATURE)],
        slicing_specs=[
            tfma.SlicingSpec(),
            tfma.SlicingSpec(feature_keys=[features.LABEL]),
        ],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(
                        class_name="ReconstructionMetric",
                        module="components.evaluator.metrics",
                        config=json_utils.dumps(
                            {"name": name, "num_codes": num_codes, "image": list(image)}
                        ),
                        # TFMA holds a plain `threshold` against every slice; the gate speaks
                        # of the whole split.
                        per_slice_thresholds=[
                            config_pb2.PerSliceMetricThreshold(
                                slicing_specs=[tfma.SlicingSpec()],
                                threshold=_threshold(name, gate.thresholds.get(name)),
                            )
                        ],
                    )
                    for name in METRICS
                ]
            )
        ],
    )


def _threshold(name: str, threshold: Threshold | None) -> config_pb2.MetricThreshold:
    low, high, worse_by = -math.inf, math.inf, None
    if threshold is not None:
        low = low if threshold.min is None else threshold.min
        high = high if threshold.max is None else threshold.max
        worse_by = threshold.worse_by
    # Infinite bounds pass every number and refuse NaN: a model that cannot be measured is not
    # released, whichever metrics the gate names.
    result = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(
            lower_bound={"value": low}, upper_bound={"value": high}
        )
    )
    if worse_by is not None:
        # TFMA compares (candidate − baseline) / baseline; NaN, as for a baseline of 0, fails.
        higher = name in HIGHER_IS_BETTER
        result.change_threshold.CopyFrom(
            config_pb2.GenericChangeThreshold(
                relative={"value": -worse_by if higher else worse_by},
                direction=(
                    config_pb2.MetricDirection.HIGHER_IS_BETTER
                    if higher
                    else config_pb2.MetricDirection.LOWER_IS_BETTER
                ),
            )
        )
    return result


def to_json(config: tfma.EvalConfig) -> str:
    """The form in which the executor takes the configuration; the same for equal ones."""
    return json_format.MessageToJson(config, sort_keys=True, indent=None)
