"""Structural similarity equals its formula, window by window, and its peer in TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from models.ssim import ssim


def pair(count, height, width, channels, seed=0):
    random = np.random.default_rng(seed)
    x = random.random((count, height, width, channels), "float32")
    noise = random.normal(0, 0.2, x.shape) * np.linspace(0, 1, count)[:, None, None, None]
    return x, np.clip(x + noise, 0, 1).astype("float32")


def written_out(x, y):
    """Of one channel, [H, W], in float64: Wang et al. 2004, eq. 13 to 16."""
    places = np.arange(11) - 5
    weights = np.exp(-(places[:, None] ** 2 + places**2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = (image[top : top + 11, left : left + 11].astype(float) for image in (x, y))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            both = (weights * (a - mean_a) * (b - mean_b)).sum()
            found.append(
                (2 * mean_a * mean_b + 0.01**2)
                * (2 * both + 0.03**2)
                / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2))
            )
    return np.mean(found)


def test_it_is_the_mean_over_windows_and_channels():
    x, y = pair(3, 12, 14, 2)
    channels = [[written_out(x[n, :, :, c], y[n, :, :, c]) for c in (0, 1)] for n in range(3)]
    expected = np.mean(channels, axis=1)
    np.testing.assert_allclose(ssim(x, y), expected, atol=1e-5)
    np.testing.assert_allclose(ssim(x, x), 1.0, atol=1e-6)


@pytest.mark.parametrize("shape", [(11, 11, 1), (32, 20, 3)])
def test_tensorflow_finds_the_same(shape):
    x, y = pair(4, *shape)
    np.testing.assert_allclose(ssim(x, y), tf.image.ssim(x, y, max_val=1.0), atol=1e-5)
