"""Gradients of the quantizers: eq. 3, straight through, rotation."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.config import QuantizerConfig
from models.quantizers import EMAQuantizer, GradientQuantizer
from models.quantizers.estimators import rotation, straight_through

ALPHA, BETA = 0.7, 0.3


def gradient_quantizer() -> GradientQuantizer:
    config = QuantizerConfig(
        kind="gradient", num_codes=6, embedding_dim=3, commitment=BETA, codebook_weight=ALPHA
    )
    layer = GradientQuantizer(config)
    layer.embedding.assign(vectors(6, 3, seed=7))
    return layer


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numeric(function, at):
    """Central differences of a scalar function of one array, in float64."""
    at = at.astype("float64")
    gradient = np.zeros_like(at)
    for index in np.ndindex(*at.shape):
        step = np.zeros_like(at)
        step[index] = 1e-6
        gradient[index] = (function(at + step) - function(at - step)) / 2e-6
    return gradient


def test_each_term_of_eq_3_moves_its_own_side():
    layer, z = gradient_quantizer(), tf.constant(vectors(20, 3))
    embedding = layer.embedding.numpy()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        losses = layer(z, training=True).losses
    codes = layer(z).codes.numpy()

    def distance(z, e):
        return np.mean((z - e[codes]) ** 2)

    for name, weight in (("codebook_loss", ALPHA), ("commitment_loss", BETA)):
        expected = weight * distance(z.numpy(), embedding)
        np.testing.assert_allclose(losses[name], expected, rtol=1e-5)
    weight = layer.embedding.value
    np.testing.assert_allclose(
        tf.convert_to_tensor(tape.gradient(losses["codebook_loss"], weight)),
        numeric(lambda e: ALPHA * distance(z.numpy(), e), embedding),
        atol=1e-6,
    )
    np.testing.assert_allclose(
        tape.gradient(losses["commitment_loss"], z),
        numeric(lambda z: BETA * distance(z, embedding), z.numpy()),
        atol=1e-6,
    )
    assert tape.gradient(losses["codebook_loss"], z) is None
    assert tape.gradient(losses["commitment_loss"], weight) is None


def test_the_decoder_does_not_move_the_codebook():
    layer, z = gradient_quantizer(), tf.constant(vectors(20, 3))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(z, training=True).quantized)
    assert tape.gradient(loss, layer.embedding.value) is None


def test_gradient_descent_moves_embeddings_to_their_encodings():
    layer, z = gradient_quantizer(), tf.constant(vectors(64, 3))
    first = float(layer(z).losses["codebook_loss"])
    for _ in range(100):
        with tf.GradientTape() as tape:
            loss = layer(z, training=True).losses["codebook_loss"]
        step = tf.convert_to_tensor(tape.gradient(loss, layer.embedding.value))
        layer.embedding.assign_sub(2.0 * step)
    assert float(layer(z).losses["codebook_loss"]) < 0.6 * first


def test_the_commitment_term_of_the_moving_averages_moves_the_encodings():
    config = QuantizerConfig(num_codes=6, embedding_dim=3, commitment=BETA)
    layer, z = EMAQuantizer(config), tf.constant(vectors(20, 3))
    embedding, codes = layer.embedding.numpy(), layer(z).codes.numpy()
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss = layer(z, training=True).losses["commitment_loss"]
    expected = numeric(lambda z: BETA * np.mean((z - embedding[codes]) ** 2), z.numpy())
    np.testing.assert_allclose(tape.gradient(loss, z), expected, atol=1e-6)
    assert not layer.trainable_weights


def estimated(estimator, z, q, upstream):
    z = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = estimator(z, tf.constant(q))
        loss = tf.reduce_sum(value * upstream)
    return value.numpy(), tape.gradient(loss, z).numpy()


def test_straight_through_copies_the_gradient():
    z, q, upstream = (vectors(30, 4, seed=seed) for seed in range(3))
    value, gradient = estimated(straight_through, z, q, upstream)
    np.testing.assert_allclose(value, q, atol=1e-6)
    np.testing.assert_array_equal(gradient, upstream)


def test_rotation_is_the_transform_of_the_paper():
    z, q, upstream = (vectors(30, 4, seed=seed) for seed in range(3))
    value, gradient = estimated(rotation, z, q, upstream)
    np.testing.assert_allclose(value, q, atol=1e-6)
    for row in range(30):
        e, target = z[row].astype("float64"), q[row].astype("float64")
        e_hat, q_hat = e / np.linalg.norm(e), target / np.linalg.norm(target)
        r = (e_hat + q_hat) / np.linalg.norm(e_hat + q_hat)
        matrix = np.eye(4) - 2 * np.outer(r, r) + 2 * np.outer(q_hat, e_hat)
        scale = np.linalg.norm(target) / np.linalg.norm(e)
        np.testing.assert_allclose(scale * matrix @ e, target, atol=1e-6)
        np.testing.assert_allclose(gradient[row], scale * matrix.T @ upstream[row], atol=1e-4)
        # The angle between the gradient and the encoding is that between upstream and the code.
        np.testing.assert_allclose(gradient[row] @ e, upstream[row] @ target, atol=1e-4)


@pytest.mark.parametrize("estimator", [straight_through, rotation])
def test_vectors_without_direction_or_opposite_to_their_code(estimator):
    z = np.array([[0, 0], [1, 0], [0, 0], [1e-20, 0], [3, 4]], "float32")
    q = np.array([[1, 2], [-2, 0], [0, 0], [1, 0], [3, 4]], "float32")
    value, gradient = estimated(estimator, z, q, vectors(5, 2))
    np.testing.assert_allclose(value, q, atol=1e-6)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() < 10


def test_rotation_is_used_when_it_is_asked_for():
    z, upstream = vectors(12, 3), vectors(12, 3, seed=1)
    config = QuantizerConfig(num_codes=6, embedding_dim=3, commitment=0.0, estimator="rotation")
    layer = EMAQuantizer(config)
    layer.embedding.assign(vectors(6, 3, seed=7))
    chosen = layer.lookup(layer(z).codes).numpy()
    _, gradient = estimated(lambda z, _: layer(z).quantized, z, chosen, upstream)
    _, expected = estimated(rotation, z, chosen, upstream)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
    assert np.any(np.abs(gradient - upstream) > 0.1)
