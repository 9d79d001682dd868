"""Instance normalization over time, in front of an encoder of spectrograms."""

from __future__ import annotations

import tensorflow as tf

# One grey level, squared: of columns that hardly change the noise is not made loud.
_EPSILON = (1.0 / 255.0) ** 2


def normalized_over_rows(x):
    """Each column and channel of an image with mean 0 and variance 1 over its rows.

        y = (x - mean) / √(variance + ε)

    (Ulyanov et al. 2016, arXiv 1607.08022, over one axis and without weights.) The level of each
    band of a spectrogram, which is the same throughout a recording, says who speaks and through
    which microphone, and little of what is said. Chou et al. 2019 (arXiv 1904.05742) take it out
    in this way to convert voices.

    Args:
        x: float `[N, H, W, C]`, in units of pixel / 255.
    """
    mean, variance = tf.nn.moments(x, axes=[1], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + _EPSILON)
