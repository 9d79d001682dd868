"""SimVQ: a frozen table, a linear map that moves all codes at once."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from models.config import QuantizerConfig
from models.quantizers import SimVQuantizer

K, D = 64, 4


def build(**changes) -> SimVQuantizer:
    config = QuantizerConfig(kind="simvq", num_codes=K, embedding_dim=D, **changes)
    return SimVQuantizer(config, seed=3)


def encodings(count, seed=0):
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(count, D)) @ random.normal(size=(D, D)) + 5.0
    return mixed.astype("float32")


def test_the_codebook_is_the_table_times_the_map_and_starts_as_the_encodings_spread():
    layer, z = build(), encodings(500)
    table = layer.embedding.numpy()
    layer.initialize(z)
    codebook = layer.codebook().numpy()
    expected = table @ layer.kernel.numpy() + layer.bias.numpy()
    np.testing.assert_allclose(codebook, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(layer.embedding, table)
    np.testing.assert_allclose(codebook.mean(0), z.mean(0), rtol=1e-3)
    np.testing.assert_allclose(
        np.cov(codebook.T, bias=True), np.cov(z.T, bias=True), rtol=1e-2, atol=1e-2
    )


def test_all_codes_move_with_those_that_are_used():
    layer, z = build(), tf.constant(encodings(8))
    before = layer.codebook().numpy()
    with tf.GradientTape() as tape:
        output = layer(z, training=True)
        loss = tf.add_n(list(output.losses.values()))
    gradients = tape.gradient(loss, layer.trainable_weights)
    assert [weight.name for weight in layer.trainable_weights] == [
        "embedding_map",
        "embedding_offset",
    ]
    for weight, gradient in zip(layer.trainable_weights, gradients, strict=True):
        weight.assign_sub(0.5 * gradient)
    used = np.unique(output.codes)
    moved = np.abs(layer.codebook().numpy() - before).max(1)
    assert len(used) < K
    assert moved.min() > 0.0


def test_encodings_that_are_all_alike_give_a_codebook_at_that_place():
    layer = build()
    layer.initialize(np.ones((20, D), "float32"))
    np.testing.assert_allclose(layer.codebook(), 1.0, atol=1e-6)
