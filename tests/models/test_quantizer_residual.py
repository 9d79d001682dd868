"""Residual quantization equals its formulas, and learns depth by depth."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.config import QuantizerConfig
from models.part import Part
from models.quantizers import ResidualQuantizer, build_quantizer
from models.quantizers.estimators import rotation

K, D, DEPTH, BETA = 16, 4, 3, 0.3


def build(**changes) -> ResidualQuantizer:
    settings = {"num_codes": K, "embedding_dim": D, "depth": DEPTH, "commitment": BETA, **changes}
    return build_quantizer(QuantizerConfig(**settings), seed=1)


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def learn(layer, z):
    output = layer(z, training=True)
    for variable, value in layer.updates(output.statistics):
        variable.assign(value)
    return output


def written_out(z, codebooks):
    """Codes `[P, depth]` and the partial sums after each depth, `[depth, P, D]`."""
    left, codes, sums = z.astype("float64"), [], []
    for codebook in codebooks:
        codes.append(((left[:, None] - codebook) ** 2).sum(-1).argmin(1))
        left = left - codebook[codes[-1]]
        sums.append(z - left)
    return np.stack(codes, -1), np.stack(sums)


@pytest.mark.parametrize("kind", ["ema", "gradient", "simvq"])
def test_each_depth_takes_the_code_nearest_to_what_is_left(kind):
    layer, z = build(kind=kind), vectors(40, D)
    layer.initialize(z)
    codes, sums = written_out(z, layer.codebook().numpy())
    output = layer(z)
    np.testing.assert_array_equal(output.codes, codes)
    np.testing.assert_allclose(output.quantized, sums[-1], atol=1e-5)
    np.testing.assert_allclose(layer.lookup(codes), sums[-1], atol=1e-5)
    # The loss of the partial sums of the paper, averaged over the depths.
    expected = BETA * np.mean((z - sums) ** 2)
    np.testing.assert_allclose(output.losses["commitment_loss"], expected, rtol=1e-4)
    # What one depth cannot say, the next one says a part of.
    errors = np.mean((z - sums) ** 2, axis=(1, 2))
    assert errors[2] < errors[1] < errors[0]


def test_the_gradient_passes_once_and_each_codebook_has_its_own():
    upstream, z = vectors(20, D, seed=5), tf.constant(vectors(20, D))
    layer = build(kind="gradient", estimator="rotation", commitment=0.0)
    total = layer(z).quantized
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        output = layer(z)
        decoder = tf.reduce_sum(output.quantized * upstream)
        expected = tf.reduce_sum(rotation(z, total) * upstream)
    gradient = tape.gradient(decoder, z)
    np.testing.assert_allclose(gradient, tape.gradient(expected, z), rtol=1e-5, atol=1e-6)
    books = [stage.embedding.value for stage in layer.stages]
    assert tape.gradient(decoder, books) == [None] * DEPTH
    assert all(each is not None for each in tape.gradient(output.losses["codebook_loss"], books))


@pytest.mark.parametrize("parts", [1, 2])
def test_every_depth_follows_what_it_is_given(parts):
    layer = build(restart_threshold=0.3)
    alone = [build_quantizer(layer.stages[0].config, seed=1 + place) for place in range(DEPTH)]
    for step in range(6):
        z = vectors(40, D, seed=step)
        pieces = [
            layer(piece, training=True, part=Part(index, parts)).statistics
            for index, piece in enumerate(np.split(z, parts))
        ]
        statistics = tf.nest.map_structure(lambda *each: sum(each), *pieces)
        assert statistics["counts"].shape == (DEPTH, K)
        for variable, value in layer.updates(statistics):
            variable.assign(value)
        left = z
        for stage in alone:
            rest = left - stage.lookup(stage(left).codes)
            learn(stage, left)
            left = rest
    theirs = [weight for stage in alone for weight in stage.weights]
    for own, other in zip(layer.weights, theirs, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5)


def test_steps_compile_and_a_call_changes_nothing():
    # Without restarts: XLA draws other numbers from the same seed.
    layer, z = build(restart_threshold=0.0), vectors(2, 3, 5, D)
    before = [weight.numpy() for weight in layer.weights]
    compiled = tf.function(lambda z: layer(z, training=True), jit_compile=True)(z)
    eager = layer(z, training=True)
    assert eager.codes.shape == (2, 3, 5, DEPTH)
    assert eager.quantized.shape == z.shape
    for one, other in zip(tf.nest.flatten(compiled), tf.nest.flatten(eager), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    for weight, value in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_wrong_shapes_are_named_and_no_images_are_fine():
    layer = build()
    with pytest.raises(ValueError, match=r"depth=3.*\(2, 4\)"):
        layer.lookup(np.zeros((2, 4), "int32"))
    with pytest.raises(ValueError, match=r"embedding_dim=4.*\(2, 5\)"):
        layer(vectors(2, 5))
    assert learn(layer, vectors(0, 3, D)).codes.shape == (0, 3, DEPTH)
    assert all(np.isfinite(weight.numpy()).all() for weight in layer.weights)
