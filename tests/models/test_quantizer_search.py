"""Nearest-code search and k-means: right, and in bounded memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from models.quantizers import search, sums
from models.quantizers.kmeans import kmeans
from models.quantizers.search import nearest, nearest_with_score


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.fixture(params=["cpu", "gpu"])
def device(request, monkeypatch):
    """The blocks that are compared at a time on either, in the size that fits a test."""
    if request.param == "gpu":
        monkeypatch.setattr(search, "has_gpu", lambda: True)
        monkeypatch.setattr(search, "GPU_BLOCK", search.Block(scores=2**16, codes=2**16))


# One block; several of positions; several of codes, with a rest; several of both.
@pytest.mark.parametrize(
    ("positions", "codes"), [(1, 2), (100, 7), (5000, 512), (30, 5000), (1111, 4097), (0, 3000)]
)
@pytest.mark.usefixtures("device")
def test_nearest_is_that_of_all_distances(positions, codes):
    z, codebook = vectors(positions, 5), vectors(codes, 5, seed=1)
    distances = ((z[:, None].astype("float64") - codebook) ** 2).sum(-1)
    found, score = nearest_with_score(tf.constant(z), tf.constant(codebook))
    assert found.dtype == "int32"
    assert found.shape == score.shape == (positions,)
    rows = np.arange(positions)
    np.testing.assert_allclose(
        distances[rows, found.numpy()], distances.min(1, initial=np.inf), atol=1e-5
    )
    np.testing.assert_allclose(score + (z**2).sum(1), distances.min(1, initial=np.inf), atol=1e-4)


def test_the_first_of_equals_is_taken_across_blocks():
    codebook = np.ones((5000, 2), "float32")
    codebook[:3] = 9.0
    np.testing.assert_array_equal(nearest(tf.ones([4, 2]), tf.constant(codebook)), 3)


def test_encodings_that_are_no_numbers_still_get_a_code_that_exists():
    z = tf.constant(np.array([[np.nan, 0], [np.inf, 0], [-np.inf, np.nan]], "float32"))
    for codes in (7, 4097):
        found = nearest(z, tf.constant(vectors(codes, 2))).numpy()
        assert np.all((found >= 0) & (found < codes))


def test_sums_by_code_are_the_same_on_a_gpu(monkeypatch):
    rows, codes = vectors(60, 3), tf.constant(np.arange(60) % 7)
    added = sums.sums_by_code(tf.constant(rows), codes, 9)
    counted = sums.count_codes(codes, 9, "float32")
    monkeypatch.setattr(sums, "has_gpu", lambda: True)
    np.testing.assert_allclose(sums.sums_by_code(tf.constant(rows), codes, 9), added, atol=1e-6)
    np.testing.assert_array_equal(sums.count_codes(codes, 9, "float32"), counted)
    np.testing.assert_array_equal(counted, np.bincount(np.arange(60) % 7, minlength=9))


_MEMORY = """
import resource, tensorflow as tf
from models.quantizers.search import nearest
search = tf.function(nearest)
codebook = tf.random.stateless_normal([65536, 8], [0, 0])
search(tf.random.stateless_normal([512, 8], [0, 1]), codebook)
z = tf.random.stateless_normal([8192, 8], [0, 2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
search(z, codebook)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_does_not_grow_with_positions_times_codes():
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True
    )
    assert float(done.stdout.split()[-1]) < 100  # MiB; all scores would be 2,048


def inertia(points, centres):
    return float(np.mean(((points[:, None] - np.asarray(centres)) ** 2).sum(-1).min(1)))


def test_seeding_in_rounds_is_about_as_good_as_one_by_one(monkeypatch):
    import models.quantizers.kmeans as module

    centres = 20.0 * vectors(64, 4)
    points = np.repeat(centres, 16, axis=0) + 0.1 * vectors(1024, 4, seed=1)
    one_by_one = inertia(points, kmeans(points, 128, 0, seed=1)[0])
    monkeypatch.setattr(module, "_ONE_BY_ONE", 8)
    placed, counts = kmeans(points, 128, 0, seed=1)
    assert placed.shape == (128, 4)
    assert float(tf.reduce_sum(counts)) == 1024
    in_rounds = inertia(points, placed)
    random = inertia(points, points[np.random.default_rng(0).permutation(1024)[:128]])
    assert in_rounds < 0.1 * random
    assert in_rounds < 3 * one_by_one
    np.testing.assert_array_equal(placed, kmeans(points, 128, 0, seed=1)[0])


def test_large_codebooks_are_placed_on_distinct_points():
    points = vectors(9000, 4)
    placed, counts = kmeans(points, 4096, 1, seed=0)
    assert len(np.unique(placed.numpy(), axis=0)) == 4096
    assert float(tf.reduce_min(counts)) >= 0
    assert float(tf.reduce_sum(counts)) == 9000


def test_fewer_points_than_centres():
    placed, counts = kmeans(vectors(10, 3), 2000, 2, seed=0)
    assert placed.shape == (2000, 3)
    assert np.isfinite(placed.numpy()).all()
    assert float(tf.reduce_sum(counts)) == 10


def test_spherical_centres_have_length_one():
    points = tf.math.l2_normalize(vectors(300, 3), axis=1)
    placed, _ = kmeans(points, 12, 5, seed=0, spherical=True)
    np.testing.assert_allclose(np.linalg.norm(placed, axis=1), 1.0, rtol=1e-5)
