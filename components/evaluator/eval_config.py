"""What TFMA measures and checks for a gate."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
from tfx.utils import json_utils

from components import features
from components.evaluator.gate import FRECHET, HIGHER_IS_BETTER, GateConfig, Threshold

SIGNATURE = "evaluate"


def eval_config(
    gate: GateConfig,
    num_codes: int,
    image: tuple[int, int, int],
    batch_size: int,
    codebooks: int = 1,
    incomparable: Collection[str] = (),
    besides: Sequence[str] = (),
) -> tfma.EvalConfig:
    """What TFMA measures and checks: all metrics, overall and per label, against the gate.

    Args:
        gate: thresholds.
        num_codes: K, size of a codebook of the candidate.
        image: H, W, C.
        batch_size: images that a model is given at a time.
        codebooks: B, number of the candidate's codebooks.
        incomparable: metrics that the last release cannot be measured by, so that thresholds on
            their change do not apply.
        besides: what is measured of the kind of data.
    """
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                model_type=tfma.TF_GENERIC,
                signature_name=SIGNATURE,
                inference_batch_size=batch_size,
            )
        ],
        slicing_specs=[
            tfma.SlicingSpec(),
            tfma.SlicingSpec(feature_keys=[features.LABEL]),
        ],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(
                        **_metric(name, num_codes, image, besides),
                        # TFMA holds a plain `threshold` against every slice; the gate speaks
                        # of the whole split.
                        per_slice_thresholds=[
                            config_pb2.PerSliceMetricThreshold(
                                slicing_specs=[tfma.SlicingSpec()],
                                threshold=_threshold(
                                    name, gate.thresholds.get(name), name not in incomparable
                                ),
                            )
                        ],
                    )
                    for name in gate.measured(image, codebooks, besides)
                ]
            )
        ],
    )


def _metric(
    name: str, num_codes: int, image: tuple[int, int, int], besides: Sequence[str]
) -> dict[str, str]:
    """What TFMA makes a metric of."""
    if name in FRECHET:
        return {
            "class_name": "FrechetMetric",
            "module": "components.evaluator.frechet",
            "config": json_utils.dumps({"name": name}),
        }
    if name in besides:
        return {
            "class_name": "RatioMetric",
            "module": "components.evaluator.ratios",
            "config": json_utils.dumps({"name": name, "known": list(besides)}),
        }
    return {
        "class_name": "ReconstructionMetric",
        "module": "components.evaluator.metrics",
        "config": json_utils.dumps({"name": name, "num_codes": num_codes, "image": list(image)}),
    }


def _threshold(
    name: str, threshold: Threshold | None, comparable: bool
) -> config_pb2.MetricThreshold:
    low, high, worse_by = -math.inf, math.inf, None
    if threshold is not None:
        low = low if threshold.min is None else threshold.min
        high = high if threshold.max is None else threshold.max
        worse_by = threshold.worse_by if comparable else None
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
