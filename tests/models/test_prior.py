"""The Gated PixelCNN: what each position may see, likelihood, sampling."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import sampler
from models.config import PriorConfig
from models.priors import GatedPixelCNN
from models.priors.dropout import drop

ROWS, COLUMNS, K = 4, 5, 6


@pytest.fixture(scope="module")
def prior():
    config = PriorConfig(layers=6, hidden_units=8, head_units=8, kernel_size=3, dropout=0.5)
    model = GatedPixelCNN(config, K, 3, (ROWS, COLUMNS), seed=1)
    # Fresh networks are nearly uniform; larger weights make every dependence visible.
    for weight in model.trainable_variables:
        weight.assign(2.0 * weight)
    return model


def codes(count=1, seed=0):
    return np.random.default_rng(seed).integers(0, K, (count, ROWS, COLUMNS)).astype("int32")


def test_each_position_sees_all_positions_before_it_and_no_other(prior):
    original = codes()
    labels = np.array([-1])
    before = prior(original, labels).numpy()[0].reshape(-1, K)
    for position in range(ROWS * COLUMNS):
        changed = original.copy()
        changed.reshape(-1)[position] = (changed.reshape(-1)[position] + 1) % K
        after = prior(changed, labels).numpy()[0].reshape(-1, K)
        differs = np.any(after != before, axis=-1)
        np.testing.assert_array_equal(differs, np.arange(ROWS * COLUMNS) > position)


def test_label_changes_every_position(prior):
    both = prior(np.repeat(codes(), 2, axis=0), np.array([0, 2])).numpy()
    assert np.all(np.any(both[0] != both[1], axis=-1))


def test_log_prob_is_the_sum_over_positions(prior):
    batch, labels = codes(3), np.array([-1, 0, 2])
    logits = prior(batch, labels).numpy().astype("float64")
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = np.take_along_axis(logs, batch[..., None], -1).sum((1, 2, 3))
    np.testing.assert_allclose(prior.log_prob(batch, labels), expected, rtol=1e-5)


def test_dropout_is_a_function_of_its_key(prior):
    batch, labels = codes(), np.array([-1])
    np.testing.assert_array_equal(prior(batch, labels), prior(batch, labels))
    first = prior(batch, labels, dropout_key=tf.constant([0, 1], tf.int64))
    again = prior(batch, labels, dropout_key=tf.constant([0, 1], tf.int64))
    other = prior(batch, labels, dropout_key=tf.constant([0, 2], tf.int64))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    assert np.any(first != prior(batch, labels))


def test_dropout_keeps_the_mean():
    x = tf.ones([100, 100])
    dropped = drop(x, 0.3, tf.constant([0, 1], tf.int64)).numpy()
    np.testing.assert_allclose(np.unique(dropped), [0.0, 1 / 0.7], rtol=1e-6)
    np.testing.assert_allclose((dropped == 0).mean(), 0.3, atol=0.02)


def test_mixed_precision_is_close_to_float32(prior):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        narrow = GatedPixelCNN(prior.config, K, 3, (ROWS, COLUMNS))
    finally:
        keras.config.set_dtype_policy("float32")
    for weight, wide in zip(narrow.variables, prior.variables, strict=True):
        weight.assign(wide)
    batch, labels = codes(20), np.arange(20) % 4 - 1
    logits = narrow(batch, labels)
    assert logits.dtype == "float32"
    # bfloat16 has 8 bits: a number is off by 2⁻⁹ of it at the most, in each of many layers.
    wide = prior(batch, labels).numpy()
    difference = np.abs(logits - wide) / np.abs(wide).max()
    assert difference.mean() < 0.05 / 13
    assert difference.max() < 0.5 / 13
    np.testing.assert_allclose(
        narrow.log_prob(batch, labels), prior.log_prob(batch, labels), rtol=0.02
    )
    # The sampler computes in float32 whatever the policy.
    np.testing.assert_array_equal(sample(narrow, [-1, 0, 2]), sample(prior, [-1, 0, 2]))


def test_xla_computes_the_same_gradients(prior):
    batch, labels = tf.constant(codes(3)), tf.constant([-1, 0, 2])

    def gradients():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(prior.log_prob(batch, labels))
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, prior.trainable_variables)]

    compiled = tf.function(gradients, jit_compile=True)()
    for plain, other in zip(gradients(), compiled, strict=True):
        np.testing.assert_allclose(plain, other, rtol=1e-3, atol=1e-5)


def sample(prior, labels, seed=1, temperature=1.0):
    function = tf.function(functools.partial(sampler.sample, prior))
    return function(tf.constant(labels), tf.constant(seed, tf.int64), temperature).numpy()


def test_samples_repeat_with_the_seed_and_differ_without(prior):
    first = sample(prior, [-1, 0, 1])
    np.testing.assert_array_equal(first, sample(prior, [-1, 0, 1]))
    assert np.any(first != sample(prior, [-1, 0, 1], seed=2))
    assert np.any(first != sample(prior, [-1, 0, 1], seed=1 + 2**40))


def test_a_low_temperature_takes_the_most_likely_code_each_time(prior):
    drawn = sample(prior, [0], temperature=1e-6)
    np.testing.assert_array_equal(prior(drawn, np.array([0])).numpy().argmax(-1), drawn)


def test_samples_follow_the_distribution(prior):
    drawn = sample(prior, np.zeros(4000, "int32"))
    first = prior(codes(), np.array([0])).numpy()[0, 0, 0].astype("float64")
    expected = np.exp(first) / np.exp(first).sum()
    observed = np.bincount(drawn[:, 0, 0], minlength=K) / 4000
    np.testing.assert_allclose(observed, expected, atol=0.04)


GROUPS = 3


@pytest.fixture(scope="module", params=[3, 5], ids=lambda side: f"{side}x{side} kernels")
def grouped(request):
    side = request.param
    config = PriorConfig(layers=6, hidden_units=8, head_units=8, kernel_size=side, dropout=0.0)
    model = GatedPixelCNN(config, K, 3, (ROWS, COLUMNS, GROUPS), seed=1)
    for weight in model.trainable_variables:
        weight.assign(2.0 * weight)
    return model


def grouped_codes(count=1, seed=0):
    shape = (count, ROWS, COLUMNS, GROUPS)
    return np.random.default_rng(seed).integers(0, K, shape).astype("int32")


def test_each_group_sees_all_positions_and_groups_before_it_and_no_other(grouped):
    original = grouped_codes()
    places = np.arange(original.size)
    changed = np.repeat(original, original.size, axis=0)  # in the n-th, the n-th code
    flat = changed.reshape(original.size, -1)
    flat[places, places] = (flat[places, places] + 1) % K
    both = np.concatenate([original, changed])
    logits = grouped(both, np.full(len(both), -1)).numpy()
    assert logits.shape == (len(both), ROWS, COLUMNS, GROUPS, K)
    logits = logits.reshape(len(both), original.size, K)
    # Rows of one batch may be rounded differently; what a code changes is 400 times as much.
    differs = np.any(np.abs(logits[1:] - logits[:1]) > 1e-3, axis=-1)
    np.testing.assert_array_equal(differs, places[None] > places[:, None])


def test_swapping_the_codes_of_two_groups_is_noticed(grouped):
    first, second = grouped_codes(), grouped_codes()
    first[0, 0, 0], second[0, 0, 0] = (1, 2, 3), (2, 1, 3)
    logits = [grouped(codes, np.array([-1])).numpy() for codes in (first, second)]
    assert np.any(np.abs(logits[0] - logits[1])[0, 0, 1] > 1e-4)


def test_log_prob_is_the_sum_over_positions_and_groups(grouped):
    batch, labels = grouped_codes(3), np.array([-1, 0, 2])
    logits = grouped(batch, labels).numpy().astype("float64")
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = np.take_along_axis(logs, batch[..., None], -1).sum((1, 2, 3, 4))
    np.testing.assert_allclose(grouped.log_prob(batch, labels), expected, rtol=1e-5)


def test_groups_are_sampled_one_after_the_other(grouped):
    drawn = sample(grouped, [0, -1], temperature=1e-6)
    assert drawn.shape == (2, ROWS, COLUMNS, GROUPS)
    np.testing.assert_array_equal(grouped(drawn, np.array([0, -1])).numpy().argmax(-1), drawn)
