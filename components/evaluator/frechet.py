"""Fréchet distances as TFMA metrics, over the features that `features.Featured` adds.

Sums and outer products add up, so the distance of the whole split is exact on any number of
workers. They are kept for the whole split only: a matrix of F × F for each label of many would not
fit into memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from components.evaluator import summed
from components.evaluator.features import NAMES, ORIGINALS, RECONSTRUCTIONS, SAMPLES
from models.frechet import FeatureSums, frechet_distance

# The sums of each of `features.NAMES`.
Sums = dict[str, FeatureSums]

_SUMS = "_feature_sums"


def _between(one: str, other: str) -> Callable[[Sums], float]:
    def distance(sums: Sums) -> float:
        known = one in sums and other in sums
        return frechet_distance(sums[one], sums[other]) if known else float("nan")

    return distance


def _images(sums: Sums) -> float:
    return float(sums[ORIGINALS].images) if ORIGINALS in sums else 0.0


# In the order of `components.evaluator.gate.FRECHET`.
_FORMULAS = {
    "rfid": _between(ORIGINALS, RECONSTRUCTIONS),
    "fid": _between(ORIGINALS, SAMPLES),
    "fid_images": _images,
}


class FrechetMetric(tfma.metrics.Metric):
    """Distance of reconstructions or of samples from the held-out images, or their number."""

    def __init__(self, name: str):
        """Initializes the metric.

        Args:
            name: `rfid`, `fid` or `fid_images`.
        """
        if name not in _FORMULAS:
            raise ValueError(f"`name` must be one of {list(_FORMULAS)}. Received: {name}")
        super().__init__(_computations, name=name)


def _computations(
    name: str, model_names: Sequence[str] | None = None, example_weighted: bool = False
) -> tfma.metrics.MetricComputations:
    formula = functools.partial(_value, name)
    return summed.computations(name, _SUMS, _SumsCombiner, formula, model_names, example_weighted)


def _value(name: str, sums: Sums) -> float:
    return _FORMULAS[name](sums)


class _SumsCombiner(beam.CombineFn):
    """Adds up the features that one model's outputs come with."""

    def __init__(self, key: tfma.metrics.MetricKey) -> None:
        self._key = key

    def create_accumulator(self) -> Sums:
        return {}  # F is known with the first features

    def add_input(self, sums: Sums, inputs: tfma.metrics.StandardMetricInputs) -> Sums:
        outputs = inputs.get_predictions(model_name=self._key.model_name)
        for name in NAMES:
            if name in outputs:
                each = np.asarray(outputs[name])
                sums.setdefault(name, FeatureSums.zero(each.shape[-1])).update(each)
        return sums

    def merge_accumulators(self, accumulators: Sequence[Sums]) -> Sums:
        merged: Sums = {}
        for sums in accumulators:
            for name, each in sums.items():
                if name in merged:
                    merged[name].merge(each)
                else:
                    merged[name] = each
        return merged

    def extract_output(self, sums: Sums) -> dict[tfma.metrics.MetricKey, Sums]:
        return {self._key: sums}
