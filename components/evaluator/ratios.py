"""TFMA metrics that are one sum by another, of numbers that come with each window.

Whoever adds a metric to the predictions gives two numbers a window: what is added up above and
below the line. A mean of what is defined in some windows only is such a ratio, and so are bits a
second. Sums add up, so the metric of a split is exact on any number of workers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from components.evaluator import summed

# Metric -> float64 [2].
Sums = dict[str, np.ndarray]

_SUMS = "_ratios"


class RatioMetric(tfma.metrics.Metric):
    """Of the output of this name, float64 `[N, 2]`: Σ of the first / Σ of the second.

    NaN where a model has no such output, or the second is 0 for all.
    """

    def __init__(self, name: str, known: Sequence[str]):
        """Initializes the metric.

        Args:
            name: of the metric, and of the output.
            known: names of all such outputs, the same for all these metrics.
        """
        super().__init__(_computations, name=name, known=list(known))


def each(above: np.ndarray, below: np.ndarray | float = 1.0) -> np.ndarray:
    """The output of such a metric, float64 `[N, 2]`; a window whose `above` is NaN has no part."""
    defined = ~np.isnan(above)
    return np.stack([np.where(defined, above, 0.0), np.where(defined, below, 0.0)], axis=-1)


def _computations(
    name: str,
    known: Sequence[str],
    model_names: Sequence[str] | None = None,
    example_weighted: bool = False,
) -> tfma.metrics.MetricComputations:
    return summed.computations(
        name,
        _SUMS,
        functools.partial(_SumsCombiner, known=known),
        functools.partial(_value, name),
        model_names,
        example_weighted,
    )


def _value(name: str, sums: Sums) -> float:
    above, below = sums.get(name, (0.0, 0.0))
    return float(above / below) if below else math.nan


class _SumsCombiner(beam.CombineFn):
    """Adds up what one model's outputs come with."""

    def __init__(self, key: tfma.metrics.MetricKey, known: Sequence[str]) -> None:
        self._key, self._known = key, known

    def create_accumulator(self) -> Sums:
        return {}

    def add_input(self, sums: Sums, inputs: tfma.metrics.StandardMetricInputs) -> Sums:
        outputs = inputs.get_predictions(model_name=self._key.model_name)
        for name in self._known:
            if name in outputs:
                _add(sums, name, np.asarray(outputs[name], np.float64).sum(axis=0))
        return sums

    def merge_accumulators(self, accumulators: Sequence[Sums]) -> Sums:
        merged: Sums = {}
        for sums in accumulators:
            for name, both in sums.items():
                _add(merged, name, both)
        return merged

    def extract_output(self, sums: Sums) -> dict[tfma.metrics.MetricKey, Sums]:
        return {self._key: sums}


def _add(sums: Sums, name: str, both: np.ndarray) -> None:
    sums[name] = sums.get(name, np.zeros(2)) + both
