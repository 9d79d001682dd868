"""Finite scalar quantization."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from models.config import QuantizerConfig
from models.quantizers import FiniteScalarQuantizer


def quantizer(levels, **changes) -> FiniteScalarQuantizer:
    return FiniteScalarQuantizer(QuantizerConfig(kind="fsq", levels=levels, **changes))


@pytest.mark.parametrize("levels", [(3,), (8, 5, 5), (4, 3, 7), (8, 8, 8, 6, 5)])
def test_every_code_is_reached_and_comes_back(levels):
    layer = quantizer(levels)
    codes = np.arange(layer.num_codes)
    vectors = layer.lookup(codes).numpy()
    assert len(np.unique(vectors, axis=0)) == layer.num_codes == np.prod(levels)
    # Encodings that are bounded to exactly these vectors.
    half, offset = np.array(levels) // 2, np.where(np.array(levels) % 2, 0.0, 0.5)
    reach = (np.array(levels) - 1) * (1 - layer.MARGIN) / 2
    inside = np.clip((vectors * half + offset) / reach, -0.9999, 0.9999)
    z = np.arctanh(inside) - np.arctanh(offset / reach)
    output = layer(z.astype("float32"))
    np.testing.assert_array_equal(output.codes, codes)
    np.testing.assert_allclose(output.quantized, vectors, atol=1e-6)


def test_codes_are_numbers_in_mixed_radix():
    layer = quantizer((4, 3, 5))
    expected = {
        (a, b, c): a + 4 * b + 12 * c for a, b, c in itertools.product(range(4), range(3), range(5))
    }
    half = np.array([2, 1, 2])
    for digits, code in expected.items():
        np.testing.assert_allclose(layer.lookup(code), (np.array(digits) - half) / half, atol=1e-6)


def test_zero_stays_zero_and_large_encodings_take_the_outermost_levels():
    layer = quantizer((4, 5))
    z = np.array([[0, 0], [-50, -50], [50, 50]], "float32")
    np.testing.assert_allclose(layer(z).quantized, [[0, 0], [-1, -1], [0.5, 1]], atol=1e-6)


def test_there_is_no_loss_and_nothing_to_learn():
    layer = quantizer((5, 4))
    assert layer(np.zeros((3, 2), "float32"), training=True).losses == {}
    assert layer.trainable_weights == []


def test_it_starts_on_the_spread_of_each_channel():
    layer = quantizer((8, 4, 4))
    spread = np.random.default_rng(0).normal(size=(4000, 3))
    # An untrained encoder: all well within one level, away from 0, one channel dead.
    z = np.array([0.1, -0.05, 3.0]) + spread * np.array([1e-3, 5e-3, 0.0])
    assert len(np.unique(layer(z.astype("float32")).codes)) == 1
    layer.initialize(z.astype("float32"))
    digits = np.unravel_index(layer(z.astype("float32")).codes, (4, 4, 8))[::-1]
    assert [len(np.unique(channel)) for channel in digits] == [8, 4, 1]
    assert np.bincount(digits[0]).min() > 100


def test_the_gradient_is_that_of_the_bound_alone():
    layer = quantizer((8, 5, 3))
    z = tf.constant(np.random.default_rng(0).normal(scale=2.0, size=(50, 3)), tf.float32)
    upstream = np.random.default_rng(1).normal(size=(50, 3)).astype("float32")
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss = tf.reduce_sum(layer(z).quantized * upstream)
    levels = np.array([8, 5, 3])
    half, offset = levels // 2, np.where(levels % 2, 0.0, 0.5)
    reach = (levels - 1) * (1 - layer.MARGIN) / 2
    shifted = z.numpy().astype("float64") + np.arctanh(offset / reach)

    def bound(x):
        return np.tanh(x) * reach / half

    expected = upstream * (bound(shifted + 1e-5) - bound(shifted - 1e-5)) / 2e-5
    gradient = tape.gradient(loss, z).numpy()
    np.testing.assert_allclose(gradient, expected, atol=1e-4)
    assert np.all(np.abs(gradient) <= np.abs(upstream) * reach / half + 1e-6)
