"""The quantizer: nearest codes, moving averages, restarts, k-means."""

import numpy as np
import pytest
import tensorflow as tf

from models.config import QuantizerConfig
from models.part import Part
from models.quantizers import EMAQuantizer
from models.quantizers.kmeans import kmeans


def quantizer(**settings) -> EMAQuantizer:
    return EMAQuantizer(QuantizerConfig(**{"num_codes": 8, "embedding_dim": 3, **settings}))


def learn(layer, z):
    """A step of training on `z`."""
    output = layer(z, training=True)
    for variable, value in layer.updates(output.statistics):
        variable.assign(value)
    return output


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def test_codes_are_the_nearest_embeddings():
    layer, z = quantizer(), vectors(5, 4, 3)
    codebook = layer.embedding.numpy()
    distances = ((z[..., None, :] - codebook) ** 2).sum(-1)
    output = layer(z)
    np.testing.assert_array_equal(output.codes, distances.argmin(-1))
    np.testing.assert_allclose(output.quantized, codebook[distances.argmin(-1)], atol=1e-6)
    np.testing.assert_allclose(layer.lookup(output.codes), output.quantized, atol=1e-6)


def test_commitment_loss_is_beta_times_the_mean_squared_distance():
    layer, z = quantizer(commitment=0.5), vectors(6, 3)
    output = layer(z)
    expected = 0.5 * np.mean((z - output.quantized.numpy()) ** 2)
    np.testing.assert_allclose(output.losses["commitment_loss"], expected, rtol=1e-6)


def test_gradient_is_copied_straight_through():
    layer, z = quantizer(commitment=0.0), tf.Variable(vectors(6, 3))
    weights = vectors(6, 3, seed=1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(z).quantized * weights)
    np.testing.assert_allclose(tape.gradient(loss, z), weights, rtol=1e-6)


def test_moving_averages_follow_appendix_a1():
    layer, z = quantizer(decay=0.9, restart_threshold=0.0), vectors(32, 3)
    counts, sums = layer.counts.numpy(), layer.sums.numpy()
    codes = learn(layer, z).codes.numpy()
    one_hot = np.eye(8)[codes]
    scale = 8 / 32  # counts are kept in units of an even split
    expected_counts = 0.9 * counts + 0.1 * scale * one_hot.sum(0)
    expected_sums = 0.9 * sums + 0.1 * scale * one_hot.T @ z
    np.testing.assert_allclose(layer.counts, expected_counts, rtol=1e-5)
    np.testing.assert_allclose(layer.sums, expected_sums, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        layer.embedding, expected_sums / expected_counts[:, None], rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("training", [False, True])
def test_a_call_changes_nothing(training):
    layer = quantizer()
    before = [weight.numpy() for weight in layer.weights]
    layer(vectors(32, 3), training=training)
    for weight, value in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_a_dead_code_moves_onto_an_encoding_and_stays_there():
    layer = quantizer(restart_threshold=0.05, decay=0.5)
    far = np.full((8, 3), 100.0, "float32")
    far[0] = 0.0
    layer.embedding.assign(far)
    layer.sums.assign(far)
    layer.counts.assign([1.0] + [0.01] * 7)
    z = vectors(64, 3)
    learn(layer, z)
    embedding = layer.embedding.numpy()
    distances = ((embedding[1:, None] - z) ** 2).sum(-1).min(1)
    np.testing.assert_allclose(distances, 0.0, atol=1e-8)
    # A restarted code weighs little beside an even split, so that it follows its neighbours.
    counts = layer.counts.numpy()[1:]
    assert np.all((counts > 0.05) & (counts < 0.5))
    # Sums and counts moved with the embedding, so that the next step does not undo it.
    np.testing.assert_allclose(
        layer.sums.numpy()[1:] / layer.counts.numpy()[1:, None], embedding[1:], rtol=1e-5
    )
    learn(layer, z)
    assert len(np.unique(layer(z).codes)) >= 7
    assert np.abs(layer.embedding.numpy()).max() < 10


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_teaches_what_the_whole_does(parts):
    # A high threshold, so that every step restarts some codes.
    settings = {"num_codes": 16, "embedding_dim": 4, "groups": 2, "restart_threshold": 0.5}
    whole, cut = quantizer(**settings), quantizer(**settings)
    for step in range(12):
        z = vectors(40, 4, seed=step)
        learn(whole, z)
        pieces = [
            cut(piece, training=True, part=Part(index, parts)).statistics
            for index, piece in enumerate(np.split(z, parts))
        ]
        for variable, value in cut.updates(tf.nest.map_structure(lambda *p: sum(p), *pieces)):
            variable.assign(value)
    for ours, theirs in zip(cut.weights, whole.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=ours.name)


def test_candidates_are_different_encodings_of_the_batch():
    layer, z = quantizer(), vectors(64, 3)
    candidates = layer(z, training=True).statistics["candidates"].numpy()
    rows = (candidates[:, None] == z).all(-1)
    np.testing.assert_array_equal(rows.sum(1), 1)
    assert rows.any(0).sum() == 8
    # Of fewer encodings than codes, each.
    few = layer(z[:5], training=True).statistics["candidates"].numpy()
    assert (few[:, None] == z[:5]).all(-1).any(0).sum() == 5


def test_every_step_has_candidates_of_its_own():
    layer, z = quantizer(), vectors(64, 3)
    first = learn(layer, z).statistics["candidates"].numpy()
    assert np.any(first != learn(layer, z).statistics["candidates"].numpy())


def test_initial_codebook_is_placed_on_the_data():
    layer = quantizer(num_codes=4)
    centres = np.array([[0, 0, 9], [9, 0, 0], [0, 9, 0], [-9, 0, 0]], "float32")
    points = np.repeat(centres, 50, axis=0) + 0.1 * vectors(200, 3)
    layer.initialize(points)
    placed = layer.embedding.numpy()
    nearest = ((centres[:, None] - placed) ** 2).sum(-1).min(1)
    assert nearest.max() < 0.05
    np.testing.assert_allclose(layer.counts, 1.0, rtol=1e-5)  # an even split
    # One cluster more often than the others: sums are counts times centres, as after any step.
    layer.initialize(np.concatenate([points, points[:50]]))
    assert np.ptp(layer.counts) > 0.1
    np.testing.assert_allclose(layer.sums / layer.counts[:, None], layer.embedding, rtol=1e-4)


def test_kmeans_is_no_worse_than_its_seeding_and_repeats():
    points = vectors(500, 3)

    def inertia(iterations):
        centres, _ = kmeans(points, 16, iterations, seed=3)
        return ((points[:, None] - centres.numpy()) ** 2).sum(-1).min(1).sum()

    assert inertia(10) < inertia(0)
    assert inertia(10) == inertia(10)


def test_fewer_encodings_than_codes_is_enough():
    layer = quantizer(num_codes=64)
    layer.initialize(vectors(10, 3))
    learn(layer, vectors(10, 3))
    assert np.isfinite(layer.embedding.numpy()).all()


def test_wrong_dimension_is_named():
    with pytest.raises(ValueError, match=r"embedding_dim=3.*\(2, 4\)"):
        quantizer()(vectors(2, 4))


def test_empty_batch():
    assert quantizer()(vectors(0, 4, 3)).codes.shape == (0, 4)
