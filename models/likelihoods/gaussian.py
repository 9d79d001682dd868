"""Gaussian distribution of the pixels: the squared error, as a likelihood."""

from __future__ import annotations

import keras
import tensorflow as tf

from models.likelihoods.likelihood import LEVELS, Likelihood, to_image
from models.updates import Updates


class GaussianLikelihood(Likelihood):
    """A Gaussian around the decoder's output, one variance for all pixels.

    The reconstruction loss is the squared error over the variance of the data, as in the
    VQ-VAE paper's own code. The variance that makes the data most likely is the mean squared
    error itself; a running average of it is kept in training, and with it the Gaussian,
    integrated over the width of a grey level, is a proper distribution of uint8 pixels.

    Args:
        data_variance: variance of pixel / 255 over the training images.
        channels: C of the images; the decoder puts out one value for each.
    """

    loss_name = "nmse"
    # Decoder outputs are centred like the encoder's inputs.
    CENTRE = 0.5
    DECAY = 0.99
    # A standard deviation of 1 / 40 grey level: narrower ones have the same masses.
    MIN_VARIANCE = 1e-8

    def __init__(self, data_variance: float, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.data_variance = data_variance
        self.outputs_per_pixel = channels
        self.variance = self.add_weight(
            name="variance",
            shape=(),
            initializer=keras.initializers.Constant(data_variance),
            trainable=False,
            aggregation="only_first_replica",
            autocast=False,
        )

    def loss(self, pixels, parameters):
        """Squared error over the data's variance, the mean over everything; a scalar.

        No unit: 1 is what the mean colour scores, and on the training images it is NMSE. It is
        the Gaussian's -ln p per pixel value up to a constant and the factor
        2 · variance / data_variance, which keeps the gradient from growing as the error falls.
        Commitment is a mean as well, so beta relates them as in the paper's own code.
        """
        x = tf.cast(pixels, self.dtype) / 255.0 - self.CENTRE
        error = tf.reduce_mean(tf.square(x - tf.cast(parameters, self.dtype)))
        return error / self.data_variance

    def updates(self, loss) -> Updates:
        """The running variance follows the error of the batch."""
        error = loss * self.data_variance
        return [(self.variance, self.DECAY * self.variance + (1.0 - self.DECAY) * error)]

    def images(self, parameters):
        """The mean image, which is also the most likely one. uint8 `[N, H, W, C]`."""
        return to_image(self._mean(parameters))

    def nats(self, pixels, parameters):
        """-ln p of each pixel value. float32 `[N, H, W, C]`."""
        x = tf.cast(pixels, self.dtype)
        variance = tf.maximum(tf.convert_to_tensor(self.variance), self.MIN_VARIANCE)
        scale = 255.0 * tf.sqrt(variance)  # in grey levels
        z = (x - self._mean(parameters)) / scale
        half = 0.5 / scale
        # Reflected into the lower tail, where a difference of Φ keeps its digits.
        reflected = -tf.abs(z)
        log_upper = _log_normal_cdf(reflected + half)
        log_lower = _log_normal_cdf(reflected - half)
        inner = log_upper + _log_one_minus_exp(tf.maximum(log_upper - log_lower, 1e-7))
        # The outermost grey levels take the tails, so that the 256 masses sum to one.
        black, white = x <= 0.0, x >= LEVELS - 1.0
        tail = _log_normal_cdf(half + tf.where(black, z, -z))
        return -tf.where(black | white, tail, inner)

    def _mean(self, parameters):
        return (tf.cast(parameters, self.dtype) + self.CENTRE) * 255.0


def _log_normal_cdf(x):
    """ln Φ(x), accurate far into the lower tail."""
    # erfc underflows below about -13; there the asymptotic series is exact to float32.
    safe = tf.maximum(x, -10.0)
    near = tf.math.log(0.5 * tf.math.erfc(-safe * 0.7071067811865476))
    tail = tf.minimum(x, -10.0)
    inverse = 1.0 / tf.square(tail)
    series = inverse * (-1.0 + inverse * (2.5 - inverse * 12.333333))
    far = -0.5 * tf.square(tail) - tf.math.log(-tail * 2.5066282746310002) + series
    return tf.where(x < -10.0, far, near)


def _log_one_minus_exp(t):
    """ln(1 - exp(-t)) for t > 0, accurate at both ends."""
    small = tf.minimum(t, 0.7)
    large = tf.maximum(t, 0.7)
    return tf.where(t < 0.7, tf.math.log(-tf.math.expm1(-small)), tf.math.log1p(-tf.exp(-large)))
