"""The likelihoods: proper distributions of grey levels, right in value and in gradient."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from models.likelihoods import LogisticMixtureLikelihood
from tests.fixtures.likelihoods import COMPONENTS, VARIANCE, case, likelihood

KINDS = ("gaussian", "categorical", "logistic_mixture")
CASES = [(kind, channels) for kind in KINDS for channels in (1, 3)]


# The formulas, in float64 and with nothing done for stability but the logarithms of SciPy.


def log_difference(larger, smaller):
    return larger + np.log(-np.expm1(smaller - larger))


def discretised(x, mean, scale, distribution):
    """ln of a distribution's integral over a grey level; the outermost ones take the tails."""
    upper, lower = (x + 0.5 - mean) / scale, (x - 0.5 - mean) / scale
    right = lower > 0
    a = np.where(right, distribution.logsf(lower), distribution.logcdf(upper))
    b = np.where(right, distribution.logsf(upper), distribution.logcdf(lower))
    tails = np.where(x == 0, distribution.logcdf(upper), distribution.logsf(lower))
    return np.where((x == 0) | (x == 255), tails, log_difference(a, b))


def gaussian_reference(pixels, parameters):
    mean, scale = 255 * (parameters + 0.5), 255 * np.sqrt(np.float64(np.float32(VARIANCE)))
    return discretised(pixels.astype(float), mean, scale, stats.norm).sum((1, 2, 3))


def categorical_reference(pixels, parameters):
    logits = parameters.reshape(*pixels.shape, 256)
    chosen = np.take_along_axis(special.log_softmax(logits, -1), pixels[..., None].astype(int), -1)
    return chosen.sum((1, 2, 3, 4))


def mixture_reference(pixels, parameters):
    """Salimans et al. 2017, eq. 1-3."""
    k, c = COMPONENTS, pixels.shape[-1]
    shape = pixels.shape[:-1]
    weights = special.log_softmax(parameters[..., :k], -1)
    means = parameters[..., k : k + c * k].reshape(*shape, c, k).copy()
    raw = parameters[..., k + c * k : k + 2 * c * k].reshape(*shape, c, k)
    scales = 127.5 * np.exp(-7 + np.logaddexp(0, np.minimum(raw, 7) + 7))
    x = pixels.astype(float)[..., None]  # (N, H, W, C, 1)
    scaled = x / 127.5 - 1
    if c == 3:
        alpha, beta, gamma = np.moveaxis(
            np.tanh(parameters[..., -3 * k :].reshape(*shape, 3, k)), -2, 0
        )
        means[..., 1, :] += alpha * scaled[..., 0, :]
        means[..., 2, :] += beta * scaled[..., 0, :] + gamma * scaled[..., 1, :]
    masses = discretised(x, 127.5 * (means + 1), scales, stats.logistic)
    return special.logsumexp(weights + masses.sum(-2), axis=-1).sum((1, 2))


REFERENCES = {
    "gaussian": gaussian_reference,
    "categorical": categorical_reference,
    "logistic_mixture": mixture_reference,
}


def reference_bits(kind, pixels, parameters):
    return -REFERENCES[kind](pixels, np.asarray(parameters, "float64")) / math.log(2)


@pytest.mark.parametrize(("kind", "channels"), CASES)
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_bits_are_those_of_the_formula(kind, channels, spread):
    made, pixels, parameters = case(kind, channels, spread=spread)
    bits = made.bits(pixels, parameters)
    assert bits.shape == (4,)
    assert bits.dtype == tf.float32
    np.testing.assert_allclose(bits, reference_bits(kind, pixels, parameters), rtol=2e-6)


@pytest.mark.parametrize("scale", [-8.0, -5.0, 0.0, 3.0])
def test_mixture_keeps_its_digits_in_the_tails(scale):
    # Each grey level on its own, from components far to its left and right.
    levels = np.arange(256, dtype="uint8").reshape(256, 1, 1, 1)
    for mean in (-3.0, -1.0, 0.0, 0.5, 3.0):
        parameters = np.zeros((256, 1, 1, 3 * COMPONENTS), "float32")
        parameters[..., COMPONENTS : 2 * COMPONENTS] = mean
        parameters[..., 2 * COMPONENTS :] = scale
        bits = likelihood("logistic_mixture").bits(levels, parameters)
        expected = reference_bits("logistic_mixture", levels, parameters)
        np.testing.assert_allclose(bits, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spread", [0.3, 3.0, 30.0])
def test_masses_of_all_grey_levels_sum_to_one(kind, spread):
    made = likelihood(kind)
    rng = np.random.default_rng(0)
    levels = np.arange(256, dtype="uint8").reshape(256, 1, 1, 1)
    for _ in range(10):
        parameters = rng.normal(size=(1, 1, 1, made.outputs_per_pixel)).astype("float32") * spread
        bits = made.bits(levels, np.repeat(parameters, 256, axis=0)).numpy()
        np.testing.assert_allclose(np.exp2(-bits.astype("float64")).sum(), 1.0, atol=1e-5)


@pytest.mark.parametrize("mean", [-0.7, -0.5, 0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("variance", [1e-12, 1e-5, 1e-3, 0.1])
def test_gaussian_masses_sum_to_one_at_any_variance(mean, variance):
    made = likelihood("gaussian")
    made.variance.assign(variance)
    levels = np.arange(256, dtype="uint8").reshape(256, 1, 1, 1)
    bits = made.bits(levels, np.full((256, 1, 1, 1), mean, "float32")).numpy()
    assert np.isfinite(bits).all()
    np.testing.assert_allclose(np.exp2(-bits.astype("float64")).sum(), 1.0, atol=1e-5)


@pytest.fixture(scope="module")
def all_colours():
    """A pixel's mixture of two colours at the ends of the range, and the mass around them.

    Returns:
        (likelihood, parameters, the levels that have mass, masses [red, green, blue]).
    """
    made = LogisticMixtureLikelihood(channels=3, components=2)
    centres = np.array([[8.0, 240.0], [247.0, 12.0], [16.0, 250.0]]) / 127.5 - 1  # (C, K)
    links = np.array([[0.4, -0.7], [-0.3, 0.5], [0.6, 0.2]])  # α, β, γ, per component
    means = centres.copy()
    means[1] -= np.tanh(links[0]) * centres[0]
    means[2] -= np.tanh(links[1]) * centres[0] + np.tanh(links[2]) * centres[1]
    scales = np.log([[2.0, 1.0], [0.5, 2.0], [1.5, 1.0]]) - np.log(127.5)
    parts = [[0.5, -0.5], means.ravel(), scales.ravel(), links.ravel()]
    parameters = np.concatenate(parts).astype("float32").reshape(1, 1, 1, -1)

    levels = np.concatenate([np.arange(56), np.arange(200, 256)])
    count = len(levels)
    rest = np.stack(np.meshgrid(levels, levels, indexing="ij"), -1).reshape(-1, 1, 1, 2)
    masses = []
    for red in levels:
        colours = np.insert(rest, 0, red, axis=-1).astype("uint8")
        bits = made.bits(colours, tf.repeat(parameters, count * count, axis=0)).numpy()
        masses.append(np.exp2(-bits.astype("float64")).reshape(count, count))
    return made, parameters, levels, np.stack(masses)


def test_masses_of_all_colours_sum_to_one(all_colours):
    *_, masses = all_colours
    np.testing.assert_allclose(masses.sum(), 1.0, atol=1e-5)


def test_mixture_paints_the_mean_colour(all_colours):
    made, parameters, levels, masses = all_colours
    exact = [(masses.sum(axes) * levels).sum() for axes in ((1, 2), (0, 2), (0, 1))]
    np.testing.assert_allclose(made.images(parameters).numpy().ravel(), exact, atol=1.0)


def test_green_and_blue_follow_the_colours_before_them():
    made = LogisticMixtureLikelihood(channels=3, components=1)
    pixels = np.array([[40, 40, 40], [200, 200, 200], [40, 200, 40]], "uint8").reshape(3, 1, 1, 3)
    parameters = np.zeros((3, 1, 1, 10), "float32")
    parameters[..., 4:7] = -3.0  # scales
    apart = made.bits(pixels, parameters).numpy()
    parameters[..., 7] = 5.0  # α: green follows red
    parameters[..., 9] = 5.0  # γ: blue follows green
    together = made.bits(pixels, parameters).numpy()
    assert (together[:2] < apart[:2] - 5).all()
    assert together[2] > apart[2] + 5


@pytest.mark.parametrize(("kind", "channels"), CASES)
def test_gradient_is_that_of_numerical_differences(kind, channels):
    made, pixels, parameters = case(kind, channels, shape=(1, 1, 4))
    with tf.GradientTape() as tape:
        variable = tf.constant(parameters)
        tape.watch(variable)
        bits = made.bits(pixels, variable)
    gradient = tape.gradient(bits, variable).numpy().ravel()
    step = 1e-5
    exact = parameters.astype("float64")
    places = np.random.default_rng(1).permutation(parameters.size)[:200]
    if kind == "categorical":  # those of the grey levels that were chosen, and others
        chosen = np.arange(pixels.size) * 256 + pixels.ravel()
        places = np.concatenate([chosen, places])
    for place in places:
        moved = [exact.copy(), exact.copy()]
        moved[0].flat[place] += step
        moved[1].flat[place] -= step
        up, down = (reference_bits(kind, pixels, each)[0] for each in moved)
        expected = (up - down) / (2 * step)
        np.testing.assert_allclose(gradient[place], expected, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize(("kind", "channels"), CASES)
def test_everything_is_finite_at_extreme_parameters(kind, channels):
    made = likelihood(kind, channels)
    rng = np.random.default_rng(0)
    extremes = np.array([0.0, 1e-30, 1.0, -1.0, 20.0, -20.0, 1e4, -1e4, 1e8, -1e8], "float32")
    parameters = rng.choice(extremes, (300, 1, 1, made.outputs_per_pixel))
    parameters[: len(extremes)] = extremes[:, None, None, None]  # all alike
    pixels = rng.choice(np.array([0, 1, 127, 254, 255], "uint8"), (300, 1, 1, channels))
    with tf.GradientTape(persistent=True) as tape:
        variable = tf.constant(parameters)
        tape.watch(variable)
        bits, loss = made.bits(pixels, variable), made.loss(pixels, variable)
    assert np.isfinite(bits).all()
    assert (bits.numpy() >= -1e-3).all()
    assert np.isfinite(loss)
    for value in (bits, loss):
        assert np.isfinite(tape.gradient(value, variable)).all()
    assert made.images(parameters).dtype == tf.uint8


@pytest.mark.parametrize(("kind", "channels"), CASES)
def test_eager_graph_and_xla_agree(kind, channels):
    made, pixels, parameters = case(kind, channels)

    def everything(pixels, parameters):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            loss = made.loss(pixels, parameters)
        gradient = tape.gradient(loss, parameters)
        return loss, gradient, made.bits(pixels, parameters), made.images(parameters)

    arguments = tf.constant(pixels), tf.constant(parameters)
    eager = everything(*arguments)
    for compiled in (tf.function(everything), tf.function(everything, jit_compile=True)):
        *values, images = compiled(*arguments)
        for value, expected in zip(values, eager, strict=False):
            np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-7)
        # A mean that lies on the border of two grey levels may go either way.
        assert np.abs(images.numpy().astype(int) - eager[3].numpy().astype(int)).max() <= 1


@pytest.mark.parametrize(("kind", "channels"), CASES)
def test_bfloat16_parameters_are_computed_with_in_float32(kind, channels):
    made, pixels, parameters = case(kind, channels)
    narrow = tf.cast(parameters, tf.bfloat16)
    wide = tf.cast(narrow, tf.float32)
    for method in (made.bits, made.loss):
        assert method(pixels, narrow).dtype == tf.float32
        np.testing.assert_array_equal(method(pixels, narrow), method(pixels, wide))
    np.testing.assert_array_equal(made.images(narrow), made.images(wide))
    with tf.GradientTape() as tape:
        tape.watch(narrow)
        loss = made.loss(pixels, narrow)
    assert tape.gradient(loss, narrow).dtype == tf.bfloat16


@pytest.mark.parametrize(("kind", "channels"), CASES)
def test_batches_of_unknown_and_of_no_size(kind, channels):
    made, pixels, parameters = case(kind, channels)
    spec = [tf.TensorSpec([None, *pixels.shape[1:]], tf.uint8)]
    spec.append(tf.TensorSpec([None, *parameters.shape[1:]], tf.float32))
    bits = tf.function(made.bits, input_signature=spec)
    images = tf.function(made.images, input_signature=spec[1:])
    np.testing.assert_allclose(bits(pixels, parameters), made.bits(pixels, parameters), rtol=1e-5)
    assert bits(pixels[:0], parameters[:0]).shape == (0,)
    assert images(parameters).shape == pixels.shape
    assert images(parameters[:0]).shape == (0, *pixels.shape[1:])


def test_mixture_paints_the_mean():
    made, _, parameters = case("logistic_mixture", 1, shape=(50, 1, 1))
    parameters[..., 2 * COMPONENTS :] -= 4 * np.random.default_rng(0).random((50, 1, 1, COMPONENTS))
    levels = np.arange(256, dtype="uint8").reshape(256, 1, 1, 1)
    exact = []
    for each in parameters:
        bits = reference_bits("logistic_mixture", levels, np.repeat(each[None], 256, axis=0))
        exact.append((np.exp2(-bits) * np.arange(256)).sum())
    assert np.abs(made.images(parameters).numpy().ravel() - exact).max() <= 1.0
