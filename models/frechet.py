"""Fréchet distance of two sets of images in the features of a network (Heusel et al. 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass
class FeatureSums:
    """What mean and covariance of features follow from; a sum over images, in float64.

    The sums of two parts of a split add up to those of both, so that no number depends on how the
    images were shared among workers, but for rounding.
    """

    # Σ f, [F].
    total: np.ndarray
    # Σ f fᵀ, [F, F].
    outer: np.ndarray
    images: int = 0

    @classmethod
    def zero(cls, features: int) -> FeatureSums:
        """The sums of no images, of which each has so many features."""
        return cls(np.zeros(features), np.zeros((features, features)))

    def update(self, features: np.ndarray) -> None:
        """Adds images: float `[N, F]`."""
        wide = np.asarray(features, np.float64)
        self.total += wide.sum(axis=0)
        self.outer += wide.T @ wide
        self.images += len(wide)

    def merge(self, other: FeatureSums) -> None:
        """Adds the sums of other images."""
        self.total += other.total
        self.outer += other.outer
        self.images += other.images

    @property
    def mean(self) -> np.ndarray:
        """float64 `[F]`."""
        return self.total / self.images

    @property
    def covariance(self) -> np.ndarray:
        """Of the population, estimated: divided by N - 1; float64 `[F, F]`."""
        centred = self.outer - self.images * np.outer(self.mean, self.mean)
        return centred / (self.images - 1)


def frechet_distance(one: FeatureSums, other: FeatureSums) -> float:
    """|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁^½ Σ₂ Σ₁^½)^½): of normal distributions fitted to features.

    The trace of the root is a sum of square roots of eigenvalues, which are those of a symmetric
    matrix and thus real, also where a covariance is singular because there are fewer images than
    features. (A root of the product Σ₁ Σ₂, which is the same in theory, may have complex parts.)

    0 for equal distributions; no unit but that of the squared features. The estimate is biased
    upwards, by the less the more images there are, so that only distances of equally many images
    may be compared. NaN of fewer than two images.
    """
    if min(one.images, other.images) < 2:
        return math.nan
    difference = one.mean - other.mean
    first, second = one.covariance, other.covariance
    root = _root(first)
    eigenvalues = np.linalg.eigvalsh(root @ second @ root)
    trace_of_root = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    distance = difference @ difference + np.trace(first) + np.trace(second) - 2.0 * trace_of_root
    return max(float(distance), 0.0)  # rounding may leave equal ones a little below


def _root(matrix: np.ndarray) -> np.ndarray:
    """The positive root of a symmetric matrix, whose eigenvalues below 0 are rounding."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
