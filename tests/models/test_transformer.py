"""The transformer prior against formulas written out, and a code at a time against the whole."""

import functools

import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from pydantic import ValidationError

from models import sampler
from models.config import PriorConfig
from models.memory import codes_at_once
from models.precision import precision
from models.priors import GatedPixelCNN, Transformer, build_prior
from models.priors.block import Block, turns
from models.recompute import recomputed
from tests.fixtures.gpu_kernels import copied_to_the_host, without_gpu_kernel

ROWS, COLUMNS, K = 3, 4, 6
LABELS = np.array([-1, 0, 2], "int32")


def network(kind="transformer", groups=1, context_channels=0):
    sizes = {"heads": 2} if kind == "transformer" else {"head_units": 10}
    config = PriorConfig(kind=kind, layers=2, hidden_units=16, dropout=0.5, **sizes)
    shape = (ROWS, COLUMNS, groups)[: 2 + (groups > 1)]
    prior = build_prior(config, K, 3, shape, 1, context_channels=context_channels)
    # Fresh networks are nearly uniform; these show every dependence, with logits of a few units.
    random = np.random.default_rng(2)
    for weight in prior.trainable_variables:
        weight.assign(weight + random.normal(0.0, 0.15, weight.shape))
    return prior


@pytest.fixture(scope="module", params=[1, 3], ids=["one code", "3 codes"])
def prior(request):
    return network(groups=request.param)


def random_codes(prior, count=3):
    return np.random.default_rng(0).integers(0, K, (count, *prior.code_shape)).astype("int32")


def random_context(channels, count=3):
    shape = (count, ROWS, COLUMNS, channels)
    return tf.constant(np.random.default_rng(1).normal(size=shape).astype("float32"))


def norm(x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def turned(x, row, column):
    """A query or key, `[d]`, of one place: each pair turned by an angle, one after the other."""
    x, quarter = x.copy(), len(x) // 4
    for pair in range(2 * quarter):
        place, index = (row, pair) if pair < quarter else (column, pair - quarter)
        angle = place * 100.0 ** (-index / quarter)
        a, b = x[pair], x[pair + 2 * quarter]
        x[pair] = a * np.cos(angle) - b * np.sin(angle)
        x[pair + 2 * quarter] = a * np.sin(angle) + b * np.cos(angle)
    return x


def test_a_block_is_the_formula_written_out():
    units, heads = 8, 2
    channels = units // heads
    layer = Block(units, heads, 0.0, blocks=1)
    random = np.random.default_rng(0)
    x = random.normal(size=(2, ROWS * COLUMNS, units)).astype("float32")
    turn = turns(ROWS, COLUMNS, channels, tf.float32)
    layer(x, turn=turn)
    for weight in layer.trainable_variables:
        weight.assign(random.normal(size=weight.shape))
    w = layer.weights_now()
    w = {name: value.numpy().astype("float64") for name, value in w._asdict().items()}
    expected = x.astype("float64")
    for image in expected:
        qkv = (norm(image) @ w["projection"]).reshape(-1, 3, heads, channels)
        mixed = np.zeros_like(image)
        for head in range(heads):
            query, key = (
                [turned(norm(each) * s, *divmod(t, COLUMNS)) for t, each in enumerate(part)]
                for part, s in ((qkv[:, 0, head], w["query_scale"]), (qkv[:, 1, head], 1.0))
            )
            for t in range(len(image)):
                scores = np.array([query[t] @ key[s] for s in range(t + 1)]) / np.sqrt(channels)
                shares = np.exp(scores - scores.max())
                shares /= shares.sum()
                mixed[t, head * channels : (head + 1) * channels] = shares @ qkv[: t + 1, 2, head]
        image += mixed @ w["output"]
        a, b = np.split(norm(image) @ w["hidden"], 2, axis=-1)
        image += (a / (1 + np.exp(-a)) * b) @ w["mlp_output"]
    np.testing.assert_allclose(layer(x, turn=turn), expected, rtol=1e-3, atol=1e-3)


def test_scores_depend_on_the_distance_only():
    cosines, sines = (each.numpy() for each in turns(5, 5, 8, tf.float64))
    x, y = np.random.default_rng(0).normal(size=(2, 8))

    def score(one, other):
        swap = [np.roll(each, 4) for each in (x, y)]
        first, second = (5 * row + column for row, column in (one, other))
        return (x * cosines[first] + swap[0] * sines[first]) @ (
            y * cosines[second] + swap[1] * sines[second]
        )

    np.testing.assert_allclose(score((0, 1), (2, 0)), score((2, 3), (4, 2)))
    assert abs(score((0, 1), (2, 0)) - score((0, 1), (2, 2))) > 1e-3


def test_each_code_sees_all_codes_before_it_and_no_other(prior):
    original = random_codes(prior, 1)
    places = np.arange(original.size)
    changed = np.repeat(original, original.size, axis=0)  # in the n-th, the n-th code
    flat = changed.reshape(original.size, -1)
    flat[places, places] = (flat[places, places] + 1) % K
    both = np.concatenate([original, changed])
    logits = prior(both, np.full(len(both), -1)).numpy().reshape(len(both), original.size, K)
    differs = np.any(np.abs(logits[1:] - logits[:1]) > 1e-4, axis=-1)
    np.testing.assert_array_equal(differs, places[None] > places[:, None])


def test_label_and_dropout_change_every_position(prior):
    codes = random_codes(prior, 1)
    both = prior(np.repeat(codes, 2, axis=0), np.array([0, 2])).numpy()
    assert np.all(np.any(both[0] != both[1], axis=-1))
    key = tf.constant([0, 1], tf.int64)
    dropped = [prior(codes, LABELS[:1], dropout_key=each).numpy() for each in (key, key, key + 1)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert np.all(np.any(dropped[0] != dropped[2], axis=-1))


@pytest.mark.parametrize(
    ("kind", "groups", "channels", "rows_given"),
    [
        ("transformer", 1, 0, 0),
        ("transformer", 3, 2, 0),
        ("transformer", 3, 0, 2),
        ("transformer", 1, 2, 2),
        ("pixelcnn", 3, 2, 0),
        ("pixelcnn", 1, 2, 2),
    ],
)
def test_logits_a_code_at_a_time_are_those_of_the_whole_network(kind, groups, channels, rows_given):
    prior = network(kind, groups, channels)
    context = random_context(channels) if channels else None
    codes = random_codes(prior)
    by_index = tf.constant(codes.reshape(3, -1).T, tf.int64)
    logits = tf.Variable(tf.fill([*by_index.shape, K], np.nan))

    @tf.function
    def follow(codes, rows_given):
        def select(index, logits_here):
            logits.scatter_nd_update([[index]], [logits_here])
            return tf.gather(by_index, index)

        steps = prior.start(LABELS, context)
        return sampler.generate(steps, select, codes, rows_given)

    beginning = codes.copy()
    beginning[:, rows_given:] = -1  # not looked at
    np.testing.assert_array_equal(follow(beginning, tf.constant(rows_given)), codes)
    expected = prior(codes, LABELS, context=context).numpy()
    assert np.std(expected) > 0.1
    found = logits.numpy().transpose(1, 0, 2).reshape(expected.shape)
    assert np.all(np.isnan(found[:, :rows_given]))
    np.testing.assert_allclose(found[:, rows_given:], expected[:, rows_given:], atol=1e-5)
    if not rows_given:
        each = scipy.special.log_softmax(found.astype("float64"), axis=-1)
        drawn = np.take_along_axis(each, codes[..., None], axis=-1)
        nats = drawn.reshape(len(codes), -1).sum(axis=1)
        found = prior.log_prob(codes, LABELS, context=context)
        np.testing.assert_allclose(found, nats, rtol=1e-5)
    if context is not None:
        other = prior(codes, LABELS, context=context + 1.0).numpy()
        assert np.all(np.any(other != expected, axis=-1))


def sampled(prior, labels=LABELS, seed=1, **more):
    more = {name: tf.constant(value) for name, value in more.items()}
    return compiled(prior)(
        tf.constant(labels), tf.constant(seed, tf.int64), tf.constant(1.0), **more
    ).numpy()


@functools.cache
def compiled(prior):
    return tf.function(functools.partial(sampler.sample, prior), reduce_retracing=True)


def test_samples_repeat_and_do_not_depend_on_the_others_of_their_batch(prior):
    labels = np.arange(20, dtype="int32") % 4 - 1
    many = sampled(prior, labels)
    np.testing.assert_array_equal(sampled(prior, labels[:3]), many[:3])
    assert np.any(sampled(prior, labels, seed=2) != many)


@pytest.mark.parametrize("rows_given", [1, ROWS])
def test_the_rows_given_are_kept_and_continued_as_they_would_have_been(prior, rows_given):
    whole = sampled(prior, seed=7)
    beginning = whole.copy()
    beginning[:, rows_given:] = -1  # not looked at
    continued = sampled(prior, seed=7, codes=beginning, rows_given=rows_given)
    np.testing.assert_array_equal(continued, whole)


def test_a_gpu_draws_without_waiting_for_the_host_at_each_code():
    prior = network()
    specs = [([None], tf.int32), ([], tf.int64), ([], tf.float32), ([], tf.int32), ([], tf.float32)]
    specs += [([None, *prior.code_shape], tf.int32), ([], tf.int32), ([], tf.float32)]
    function = tf.function(functools.partial(sampler.sample, prior)).get_concrete_function(
        *(tf.TensorSpec(*each) for each in specs)
    )
    assert not without_gpu_kernel(function)
    assert not copied_to_the_host(function)


def test_training_lowers_the_loss():
    prior = build_prior(
        PriorConfig(kind="transformer", layers=1, hidden_units=16, heads=2), K, 0, (ROWS, COLUMNS)
    )
    codes = tf.constant(np.arange(8 * ROWS * COLUMNS).reshape(8, ROWS, COLUMNS) % K, tf.int32)
    labels = tf.fill([8], -1)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(prior.log_prob(codes, labels))
        variables = [each.value for each in prior.trainable_variables]
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(0.1 * tf.convert_to_tensor(gradient))
        return loss

    losses = [float(step()) for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]


def test_computing_again_and_xla_give_the_same_gradients():
    layer = Block(8, 2, 0.5, blocks=1)
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 12, 8)).astype("float32"))
    given = {"turn": turns(3, 4, 4, tf.float32), "dropout_key": None}
    layer(x, **given)

    def gradients(call):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(call(x, **given)))
        return tape.gradient(loss, [each.value for each in layer.trainable_variables])

    plain = tf.function(lambda: gradients(layer))()
    again = tf.function(lambda: gradients(functools.partial(recomputed, layer)))()
    compiled = tf.function(lambda: gradients(layer), jit_compile=True)()
    for one, same, close in zip(plain, again, compiled, strict=True):
        np.testing.assert_array_equal(one, same)
        np.testing.assert_allclose(one, close, rtol=1e-3, atol=1e-4)


def test_mixed_precision_is_close_to_float32(prior):
    sizes = prior.config, K, 3, prior.code_shape
    with precision("bfloat16"):
        narrow = Transformer(*sizes)
    for weight, wide in zip(narrow.variables, prior.variables, strict=True):
        weight.assign(wide)
    codes = random_codes(prior)
    logits = narrow(codes, LABELS)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(
        narrow.log_prob(codes, LABELS), prior.log_prob(codes, LABELS), rtol=0.02
    )
    np.testing.assert_array_equal(sampled(narrow), sampled(prior))


def test_options_of_the_other_kind_are_refused_by_name():
    for sizes, named in (
        ({"heads": 2}, "heads is not for kind pixelcnn"),
        ({"kind": "transformer", "kernel_size": 5}, "kernel_size is not for kind transformer"),
        ({"kind": "transformer", "head_units": 64}, "head_units is not for kind transformer"),
        ({"kind": "transformer", "hidden_units": 24}, r"hidden_units \(24\) must be a multiple"),
    ):
        with pytest.raises(ValidationError, match=named):
            PriorConfig(**sizes)
    # What a run hands to its trainer is read again.
    written = PriorConfig(kind="transformer").model_dump_json()
    assert PriorConfig.model_validate_json(written).kind == "transformer"
    assert isinstance(build_prior(PriorConfig(layers=1), K, 0, (2, 2)), GatedPixelCNN)


def test_scores_count_for_what_is_computed_at_once():
    config = PriorConfig(kind="transformer", hidden_units=8, heads=2)
    scores = 2 * (64 * 64) ** 2 * 4
    assert 1 <= codes_at_once(config, (64, 64), 2) * scores <= 2**28
