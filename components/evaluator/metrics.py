"""The metrics of models/metrics.py as TFMA metrics.

The histogram of codes is built once for all of them (`components.evaluator.summed`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from components.evaluator import summed
from components.evaluator.extractors import COUNT_CODES
from models import metrics

_SUMS = "_sums"


class ReconstructionMetric(tfma.metrics.Metric):
    """One metric of a VQ-VAE with its prior, over the outputs of the `evaluate` signature."""

    def __init__(self, name: str, num_codes: int, image: Sequence[int]):
        """Initializes the metric.

        Args:
            name: one of those that `models.metrics` knows.
            num_codes: K, size of a codebook. A model whose `evaluate` signature also returns
                `num_codes` [N] is measured with its own K; one that returns `codebooks` [N], with
                as many codebooks.
            image: H, W, C of the images.
        """
        if not metrics.is_metric(name):
            raise ValueError(f"`name` must be one of {list(metrics.METRICS)}. Received: {name}")
        super().__init__(_computations, name=name, num_codes=num_codes, image=list(image))


def _computations(
    name: str,
    num_codes: int,
    image: Sequence[int],
    model_names: Sequence[str] | None = None,
    example_weighted: bool = False,
) -> tfma.metrics.MetricComputations:
    return summed.computations(
        name,
        _SUMS,
        lambda key: _SumsCombiner(key, num_codes, image),
        functools.partial(_value, name),
        model_names,
        example_weighted,
    )


def _value(name: str, sums: metrics.Sums) -> float:
    formula = metrics.formulas(sums.image, sums.codebooks).get(name)
    return formula(sums) if formula else math.nan  # the last release may have fewer codebooks


class _SumsCombiner(beam.CombineFn):
    """Adds up the outputs of one model."""

    def __init__(self, key: tfma.metrics.MetricKey, num_codes: int, image: Sequence[int]) -> None:
        self._key = key
        self._num_codes = num_codes
        height, width, channels = image
        self._image = (height, width, channels)

    def create_accumulator(self) -> metrics.Sums | None:
        return None  # K is known with the first output

    def add_input(
        self, sums: metrics.Sums | None, inputs: tfma.metrics.StandardMetricInputs
    ) -> metrics.Sums:
        outputs = inputs.get_predictions(model_name=self._key.model_name)
        if np.ndim(outputs["codes"]) == 1:  # stock TFMA hands over single images
            outputs = {name: np.asarray(value)[np.newaxis] for name, value in outputs.items()}
        if sums is None:
            num_codes = int(np.max(outputs.get("num_codes", self._num_codes)))
            count_codes = bool(np.all(outputs.get(COUNT_CODES, True)))
            codebooks = int(np.max(outputs.get("codebooks", 1)))
            sums = metrics.Sums.zero(num_codes, self._image, count_codes, codebooks)
        sums.update(outputs)
        return sums

    def merge_accumulators(self, accumulators: Sequence[metrics.Sums | None]):
        merged = None
        for sums in accumulators:
            if merged is None:
                merged = sums
            elif sums is not None:
                merged.merge(sums)
        return merged

    def extract_output(
        self, sums: metrics.Sums | None
    ) -> dict[tfma.metrics.MetricKey, metrics.Sums]:
        return {self._key: sums or metrics.Sums.zero(self._num_codes, self._image)}
