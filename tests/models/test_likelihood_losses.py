"""What the likelihoods are trained with and what they paint; and that they learn."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from models.likelihoods import (
    CategoricalLikelihood,
    GaussianLikelihood,
    LogisticMixtureLikelihood,
)
from tests.fixtures.likelihoods import case, likelihood


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["categorical", "logistic_mixture"])
def test_loss_is_nats_per_pixel_value(kind, channels):
    made, pixels, parameters = case(kind, channels)
    nats = made.bits(pixels, parameters).numpy() * math.log(2)
    np.testing.assert_allclose(
        made.loss(pixels, parameters), nats.mean() / (3 * 5 * channels), rtol=1e-5
    )
    assert made.loss_name == "nats_per_dim"


def test_categorical_without_evidence_costs_eight_bits():
    made = CategoricalLikelihood(channels=3)
    pixels = np.arange(12, dtype="uint8").reshape(1, 2, 2, 3)
    parameters = np.full((1, 2, 2, 768), 7.0, "float32")
    np.testing.assert_allclose(made.bits(pixels, parameters), [12 * 8], rtol=1e-6)
    np.testing.assert_allclose(made.loss(pixels, parameters), math.log(256), rtol=1e-6)


def test_categorical_paints_the_mean():
    made, _, parameters = case("categorical", 3, spread=3.0)
    masses = special.softmax(parameters.astype("float64").reshape(4, 3, 5, 3, 256), -1)
    np.testing.assert_array_equal(
        made.images(parameters), np.round((masses * np.arange(256)).sum(-1))
    )


@pytest.mark.parametrize("kind", ["categorical", "logistic_mixture"])
def test_a_distribution_with_two_modes_is_learned(kind):
    # Half of the values near 50, half near 200: no Gaussian does better than 7.9 bits.
    rng = np.random.default_rng(0)
    values = np.where(rng.random(4000) < 0.5, 50, 200) + rng.integers(-4, 5, 4000)
    pixels = values.astype("uint8").reshape(4000, 1, 1, 1)
    made = likelihood(kind)
    parameters = tf.Variable(rng.normal(size=(1, 1, 1, made.outputs_per_pixel)), dtype=tf.float32)
    moments = [tf.Variable(tf.zeros_like(parameters)) for _ in range(2)]

    @tf.function
    def train(steps):
        for step in tf.range(1, steps + 1):
            with tf.GradientTape() as tape:
                loss = made.loss(pixels, tf.repeat(parameters, 4000, axis=0))
            gradient = tape.gradient(loss, parameters)
            moments[0].assign(0.9 * moments[0] + 0.1 * gradient)
            moments[1].assign(0.99 * moments[1] + 0.01 * gradient**2)
            rate = 0.1 / (1.0 - 0.9 ** tf.cast(step, tf.float32))
            parameters.assign_sub(rate * moments[0] / (tf.sqrt(moments[1]) + 1e-8))

    train(200)
    bits = tf.reduce_mean(made.bits(pixels, tf.repeat(parameters, 4000, axis=0)))
    entropy = math.log2(2 * 9)
    assert entropy - 0.05 < bits < entropy + (0.1 if kind == "categorical" else 0.5)


def test_gaussian_loss_is_the_error_over_the_data_variance():
    made = GaussianLikelihood(data_variance=0.1, channels=1)
    pixels = np.array([0, 255], "uint8").reshape(1, 2, 1, 1)
    parameters = np.array([-0.4, 0.3], "float32").reshape(1, 2, 1, 1)
    loss = made.loss(pixels, parameters)
    np.testing.assert_allclose(loss, np.mean([0.1**2, 0.2**2]) / 0.1, rtol=1e-5)
    assert made.loss_name == "nmse"


def test_gaussian_variance_follows_the_error():
    made = GaussianLikelihood(data_variance=0.1, channels=1)
    pixels, parameters = np.zeros((1, 2, 2, 1), "uint8"), np.zeros((1, 2, 2, 1), "float32")
    made.loss(pixels, parameters)
    assert float(made.variance) == np.float32(0.1)
    for _ in range(1000):
        for variable, value in made.updates(made.loss(pixels, parameters)):
            variable.assign(value)
    np.testing.assert_allclose(made.variance, 0.25, rtol=1e-4)


def test_gaussian_images_are_rounded_and_clipped():
    parameters = np.array([-0.6, -0.5, 0.0, 0.5, 0.6], "float32").reshape(1, 5, 1, 1)
    images = likelihood("gaussian").images(parameters).numpy().ravel()
    np.testing.assert_array_equal(images, [0, 0, 128, 255, 255])


def test_only_gray_and_rgb_have_a_mixture():
    with pytest.raises(ValueError, match=r"channels must be 1 \(gray\) or 3 \(RGB\)\. Received: 2"):
        LogisticMixtureLikelihood(channels=2, components=5)
