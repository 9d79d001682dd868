"""TFMA metrics that are formulas over sums.

Per model, one combiner adds up what all formulas need over a slice (a private metric, so it is not
stored), and each named metric is a formula over that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types


def computations(
    name: str,
    sums: str,
    combiner: Callable[[tfma.metrics.MetricKey], beam.CombineFn],
    formula: Callable[[Any], float],
    model_names: Sequence[str] | None,
    example_weighted: bool,
) -> tfma.metrics.MetricComputations:
    """What TFMA is to compute for one metric.

    Args:
        name: of the metric.
        sums: name of the sums; TFMA drops those that start with an underscore from the results.
        combiner: adds up the outputs of a model, under the key that it is given.
        formula: from the sums to the metric; it travels to workers.
        model_names, example_weighted: as TFMA gives them.
    """
    found: tfma.metrics.MetricComputations = []
    for model_name in model_names or [""]:
        sums_key = tfma.metrics.MetricKey(sums, model_name=model_name)
        # TFMA keeps one of the equal computations that each metric brings along.
        found.append(
            tfma.metrics.MetricComputation(
                keys=[sums_key], preprocessors=[_only_predictions()], combiner=combiner(sums_key)
            )
        )
        key = tfma.metrics.MetricKey(name, model_name=model_name, example_weighted=example_weighted)
        found.append(
            tfma.metrics.DerivedMetricComputation(
                keys=[key], result=_Formula(formula, key, sums_key)
            )
        )
    return found


def _only_predictions() -> metric_types.StandardMetricInputsPreprocessor:
    """Of what TFMA knows of an image, what the metrics need."""
    return metric_types.StandardMetricInputsPreprocessor(
        include_filter=[tfma.PREDICTIONS_KEY], include_default_inputs=False
    )


class _Formula:
    """From the sums of one slice and model to one metric."""

    def __init__(
        self,
        formula: Callable[[Any], float],
        key: tfma.metrics.MetricKey,
        sums_key: tfma.metrics.MetricKey,
    ):
        self._formula, self._key, self._sums_key = formula, key, sums_key

    def __call__(
        self, results: Mapping[tfma.metrics.MetricKey, Any]
    ) -> dict[tfma.metrics.MetricKey, float]:
        return {self._key: self._formula(results[self._sums_key])}
