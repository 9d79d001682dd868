"""The Gaussian likelihood: a distribution of grey levels."""

import numpy as np
import pytest
from scipy import stats

from models.likelihood import GaussianLikelihood


def gaussian(variance):
    likelihood = GaussianLikelihood(data_variance=0.1, channels=1)
    likelihood.variance.assign(variance)
    return likelihood


@pytest.mark.parametrize("mean", [-0.7, -0.5, 0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("variance", [1e-5, 1e-3, 0.1])
def test_masses_of_all_grey_levels_sum_to_one(mean, variance):
    levels = np.arange(256, dtype="uint8")[:, None, None, None]
    means = np.full((256, 1, 1, 1), mean, "float32")
    bits = gaussian(variance).bits(levels, means).numpy()
    assert np.isfinite(bits).all()
    np.testing.assert_allclose(np.exp2(-bits.astype("float64")).sum(), 1.0, atol=1e-5)


def test_bits_are_those_of_the_integrated_gaussian():
    pixels = np.array([0, 3, 128, 250, 255], "uint8").reshape(1, 5, 1, 1)
    means = np.array([-0.5, -0.45, 0.1, 0.49, 0.4], "float32").reshape(1, 5, 1, 1)
    scale = 255 * np.sqrt(0.002)
    x, m = pixels.astype(float).ravel(), 255 * (means.ravel() + 0.5)
    upper = np.where(x == 255, 1, stats.norm.cdf((x + 0.5 - m) / scale))
    lower = np.where(x == 0, 0, stats.norm.cdf((x - 0.5 - m) / scale))
    expected = -np.log2(upper - lower).sum()
    np.testing.assert_allclose(gaussian(0.002).bits(pixels, means), [expected], rtol=1e-5)


def test_loss_is_the_error_over_the_data_variance():
    likelihood = gaussian(0.1)
    pixels = np.array([0, 255], "uint8").reshape(1, 2, 1, 1)
    parameters = np.array([-0.4, 0.3], "float32").reshape(1, 2, 1, 1)
    loss = likelihood.loss(pixels, parameters)
    np.testing.assert_allclose(loss, np.mean([0.1**2, 0.2**2]) / 0.1, rtol=1e-5)


def test_variance_follows_the_error_in_training_only():
    likelihood = gaussian(0.1)
    pixels, parameters = np.zeros((1, 2, 2, 1), "uint8"), np.zeros((1, 2, 2, 1), "float32")
    likelihood.loss(pixels, parameters)
    assert float(likelihood.variance) == np.float32(0.1)
    for _ in range(2000):
        likelihood.loss(pixels, parameters, training=True)
    np.testing.assert_allclose(likelihood.variance, 0.25, rtol=1e-4)


def test_images_are_rounded_and_clipped():
    parameters = np.array([-0.6, -0.5, 0.0, 0.5, 0.6], "float32").reshape(1, 5, 1, 1)
    images = gaussian(0.1).images(parameters).numpy().ravel()
    np.testing.assert_array_equal(images, [0, 0, 128, 255, 255])
