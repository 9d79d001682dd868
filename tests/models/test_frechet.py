"""The Fréchet distance equals its formula with SciPy's root of the product."""

import math

import numpy as np
import pytest
import scipy.linalg

from models.frechet import FeatureSums, frechet_distance


def features(count, size=6, seed=0, shift=0.0):
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(count, size)) @ random.normal(size=(size, size))
    return (mixed + shift).astype("float32")


def sums(features, parts=1):
    pieces = []
    for part in np.array_split(features, parts):
        piece = FeatureSums.zero(features.shape[1])
        for batch in np.array_split(part, 2):
            piece.update(batch)
        pieces.append(piece)
    whole = FeatureSums.zero(features.shape[1])
    for piece in pieces:
        whole.merge(piece)
    return whole


def written_out(one, other):
    first, second = (np.cov(each.astype("float64"), rowvar=False) for each in (one, other))
    difference = one.mean(0, dtype="float64") - other.mean(0, dtype="float64")
    root = scipy.linalg.sqrtm(first @ second)
    return difference @ difference + np.trace(first + second - 2 * root.real)


@pytest.mark.parametrize("parts", [1, 5])
def test_it_is_the_formula_however_the_images_are_shared(parts):
    one, other = features(50), features(70, seed=1, shift=2.0)
    found = frechet_distance(sums(one, parts), sums(other, parts))
    assert found == pytest.approx(written_out(one, other), rel=1e-9)


def test_equal_sets_are_at_no_distance_and_shifted_ones_at_the_square_of_the_shift():
    one = features(40)
    assert frechet_distance(sums(one), sums(one)) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(sums(one), sums(one + np.float32(0.5))) == pytest.approx(
        6 * 0.25, rel=1e-5
    )


def test_fewer_images_than_features_and_features_without_spread():
    one, other = features(4, size=9), features(5, size=9, seed=2)
    one[:, 3] = other[:, 3] = 1.0
    found = frechet_distance(sums(one), sums(other))
    values = [np.linalg.svd(each - each.mean(0)) for each in (one, other)]
    roots = [(v.T[:, : len(s)] * s) @ v[: len(s)] for _, s, v in values]
    roots = [
        root / math.sqrt(len(each) - 1) for root, each in zip(roots, (one, other), strict=True)
    ]
    # The trace of the root is the sum of the singular values of the product of the roots.
    trace = np.linalg.svd(roots[0] @ roots[1], compute_uv=False).sum()
    difference = one.mean(0) - other.mean(0)
    expected = difference @ difference + sum((root**2).sum() for root in roots) - 2 * trace
    assert found == pytest.approx(expected, rel=1e-4)


def test_one_image_has_no_distance():
    assert math.isnan(frechet_distance(sums(features(1)), sums(features(5))))
