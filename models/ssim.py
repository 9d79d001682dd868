"""Structural similarity of images (Wang et al. 2004)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from models.metrics import SSIM_WINDOW

# Standard deviation of the window's Gaussian weights, pixels.
_SIGMA = 1.5
# (K₁ L)² and (K₂ L)² of the paper, where the range L of the pixels is 1.
_C1, _C2 = 0.01**2, 0.03**2


def ssim(x, y) -> tf.Tensor:
    """Structural similarity of each pair of images, at most 1, which only equal ones have.

        SSIM = (2 μ_x μ_y + C₁) (2 σ_xy + C₂) / ((μ_x² + μ_y² + C₁) (σ_x² + σ_y² + C₂))

    (Eq. 13.) Means and variances are weighted by a Gaussian window of 11×11 pixels; an image's
    value is the mean over all windows that lie inside of it and over its channels.

    Args:
        x, y: float32 `[N, H, W, C]` in [0, 1]; H and W known and at least 11.

    Returns:
        float32 `[N]`.
    """
    channels = x.shape[-1]
    # All four at once: two products with band matrices, which are much faster than convolutions.
    local = _blurred(tf.concat([x, y, x * y, tf.square(x) + tf.square(y)], axis=-1))
    mean_x, mean_y, product, squares = tf.split(local, [channels] * 4, axis=-1)
    means = mean_x * mean_y
    mean_squares = tf.square(mean_x) + tf.square(mean_y)
    luminance = (2.0 * means + _C1) / (mean_squares + _C1)
    structure = (2.0 * (product - means) + _C2) / (squares - mean_squares + _C2)
    return tf.reduce_mean(luminance * structure, axis=[1, 2, 3])


def _blurred(images):
    """Weighted means of all windows. `[N, H, W, C]` -> `[N, H - 10, W - 10, C]`."""
    _, height, width, _ = images.shape
    rows = tf.einsum("ah,nhwc->nawc", _windows(height), images)
    return tf.einsum("bw,nawc->nabc", _windows(width), rows)


def _windows(size: int) -> tf.Tensor:
    """Weights of each window along an axis, float32 `[size - 10, size]`."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-(offsets**2) / (2.0 * _SIGMA**2))
    band = np.zeros([size - SSIM_WINDOW + 1, size], np.float32)
    for first, row in enumerate(band):
        row[first : first + SSIM_WINDOW] = weights / weights.sum()
    return tf.constant(band)
