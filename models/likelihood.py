"""Distribution of the pixels given the codes."""

from __future__ import annotations

import keras
import tensorflow as tf


class GaussianLikelihood(keras.layers.Layer):
    """A Gaussian around the decoder's output, one variance for all pixels.

    The reconstruction loss is the squared error over the variance of the data, as in the
    VQ-VAE paper's own code. The variance that makes the data most likely is the mean squared
    error itself; a running average of it is kept in training, and with it the Gaussian,
    integrated over the width of a grey level, is a proper distribution of uint8 pixels.

    Args:
        data_variance: variance of pixel / 255 over the training images.
        channels: C of the images.

    Call arguments, all methods:
        pixels: uint8 `[N, H, W, C]`.
        parameters: float `[N, H, W, C]`, the decoder's output.
    """

    # Decoder outputs are centred like the encoder's inputs.
    CENTRE = 0.5
    DECAY = 0.99

    def __init__(self, data_variance: float, channels: int, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.data_variance = data_variance
        self.outputs_per_pixel = channels
        self.variance = self.add_weight(
            name="variance",
            shape=(),
            initializer=keras.initializers.Constant(data_variance),
            trainable=False,
            aggregation="only_first_replica",
        )

    def loss(self, pixels, parameters, training: bool = False):
        """Squared error over the data's variance, the mean over everything; a scalar.

        In training the running variance follows the error of the global batch.
        """
        error = self._error(pixels, parameters)
        if training:
            replica = tf.distribute.get_replica_context()
            mean = tf.stop_gradient(error)
            if replica.num_replicas_in_sync > 1:
                mean = replica.all_reduce(tf.distribute.ReduceOp.MEAN, mean)
            self.variance.assign(self.DECAY * self.variance + (1.0 - self.DECAY) * mean)
        return error / self.data_variance

    def images(self, parameters):
        """The most likely image. uint8 `[N, H, W, C]`."""
        pixels = tf.round((tf.cast(parameters, tf.float32) + self.CENTRE) * 255.0)
        return tf.cast(tf.clip_by_value(pixels, 0.0, 255.0), tf.uint8)

    def bits(self, pixels, parameters):
        """-log2 p(pixels | parameters) of each image. float32 `[N]`."""
        x = tf.cast(pixels, tf.float32)
        mean = (tf.cast(parameters, tf.float32) + self.CENTRE) * 255.0
        scale = 255.0 * tf.sqrt(tf.convert_to_tensor(self.variance))
        upper = (x + 0.5 - mean) / scale
        lower = (x - 0.5 - mean) / scale
        # The outermost grey levels take the tails, so that the 256 masses sum to one.
        upper = tf.where(x >= 255.0, float("inf"), upper)
        lower = tf.where(x <= 0.0, float("-inf"), lower)
        # Reflected so that both bounds are in the tail where a difference keeps its digits.
        flip = lower > 0.0
        a = tf.where(flip, -upper, lower)
        b = tf.where(flip, -lower, upper)
        log_b, log_a = _log_normal_cdf(b), _log_normal_cdf(a)
        log_mass = log_b + tf.math.log1p(-tf.exp(tf.minimum(log_a - log_b, -1e-7)))
        nats = -tf.reduce_sum(log_mass, axis=[1, 2, 3])
        return nats / tf.math.log(2.0)

    def _error(self, pixels, parameters):
        x = tf.cast(pixels, tf.float32) / 255.0 - self.CENTRE
        return tf.reduce_mean(tf.square(x - tf.cast(parameters, tf.float32)))


def _log_normal_cdf(x):
    """log Φ(x), accurate far into the lower tail."""
    # erfc underflows below about -13; there the asymptotic series is exact to float32.
    safe = tf.maximum(x, -10.0)
    near = tf.math.log(0.5 * tf.math.erfc(-safe * 0.7071067811865476))
    tail = tf.minimum(x, -10.0)
    square = tf.square(tail)
    far = -0.5 * square - tf.math.log(-tail * 2.5066282746310002) - 1.0 / square
    return tf.where(x < -10.0, tf.where(tf.math.is_inf(x), float("-inf"), far), near)
