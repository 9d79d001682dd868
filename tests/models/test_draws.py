"""A draw from logits: the distribution, temperature, top-k and top-p."""

import numpy as np
import pytest
import tensorflow as tf

from models.draws import draw, noise


def test_draws_follow_the_distribution():
    logits = np.random.default_rng(3).normal(0, 2, 7).astype("float32")
    uniform = noise(0, 1, 50_000)[0]
    drawn = draw(tf.tile(logits[None], [50_000, 1]), uniform, 2.0).numpy()
    expected = np.exp(logits / 2.0) / np.exp(logits / 2.0).sum()
    np.testing.assert_allclose(np.bincount(drawn, minlength=7) / 50_000, expected, atol=0.01)


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        (0, 1.0, {0, 1, 2, 3}),
        (1, 1.0, {2}),
        (2, 1.0, {0, 2}),
        (9, 1.0, {0, 1, 2, 3}),
        (0, 0.39, {2}),
        (0, 0.41, {0, 2}),
        (0, 0.91, {0, 1, 2, 3}),
        (3, 0.78, {0, 1, 2}),  # 0.44 + 0.33 falls short
        (2, 0.5, {2}),  # of the two that are kept, one has 0.57
        (0, 1e-9, {2}),
    ],
)
def test_top_k_and_top_p_keep_the_most_likely_codes(top_k, top_p, kept):
    logits = tf.tile(tf.math.log([[0.3, 0.2, 0.4, 0.1]]), [2000, 1])
    uniform = tf.linspace(0.0, np.nextafter(np.float32(1), np.float32(0)), 2000)
    assert set(draw(logits, uniform, 1.0, top_k, top_p).numpy()) == kept


@pytest.mark.parametrize("temperature", [1e-30, 1e30])
def test_extreme_temperatures_are_finite(temperature):
    logits = tf.tile([[1.0, 30.0, -1000.0]], [300, 1])
    drawn = draw(logits, tf.linspace(0.0, 0.999, 300), temperature).numpy()
    assert set(drawn) == ({1} if temperature < 1 else {0, 1, 2})


def test_a_code_without_probability_is_never_drawn():
    logits = tf.constant([[-np.inf, 0.0, -np.inf, 0.0, -np.inf]] * 2)
    uniform = tf.constant([0.0, np.nextafter(np.float32(1), np.float32(0))])
    np.testing.assert_array_equal(draw(logits, uniform, 1.0), [1, 3])


@pytest.mark.parametrize("num_codes", [129, 512, 1000])
def test_many_codes_are_drawn_as_few_are(num_codes):
    random = np.random.default_rng(4)
    logits = random.normal(0, 2, (300, num_codes)).astype("float32")
    logits[random.random(logits.shape) < 0.5] = -np.inf
    logits[:50, : num_codes // 2] = -np.inf  # whole blocks
    logits[50:100, num_codes // 2 :] = -np.inf
    uniform = random.random(300).astype("float32")
    uniform[::3], uniform[1::3] = 0.0, np.nextafter(np.float32(1), np.float32(0))
    drawn = draw(logits, uniform, 1.0).numpy()
    assert np.all(np.isfinite(logits[np.arange(300), drawn]))
    cumulative = np.cumsum(np.exp(logits.astype("float64")), axis=-1)
    cumulative /= cumulative[:, -1:]
    # Up to the rounding of float32.
    before = np.where(drawn > 0, cumulative[np.arange(300), np.maximum(drawn - 1, 0)], 0.0)
    assert np.all(before <= uniform + 1e-6)
    assert np.all(uniform <= cumulative[np.arange(300), drawn] + 1e-6)


def test_a_network_that_has_diverged_still_gives_codes():
    for num_codes in (6, 300):
        drawn = draw(tf.fill([2, num_codes], np.nan), tf.constant([0.1, 0.9]), 1.0).numpy()
        assert np.all((drawn >= 0) & (drawn < num_codes))
