"""Categorical distribution of the pixels: a softmax over the 256 grey levels."""

from __future__ import annotations

import tensorflow as tf

from models.likelihoods.likelihood import LEVELS, Likelihood, to_image


class CategoricalLikelihood(Likelihood):
    """A softmax over the 256 grey levels for every pixel value, independent of each other.

    As in van den Oord et al. 2017 (CIFAR-10) and PixelRNN (2016). It can take any shape, and
    knows nothing of grey levels being ordered.

    The logits are by far the largest tensor of the model (0.4 GB in float32 for 128 images of
    32×32×3). They are read once for the loss and once for the gradient, and neither a one-hot
    of the pixels nor the logarithm of the softmax is ever made of them.

    Args:
        channels: C of the images; the decoder puts out 256 logits for each.
    """

    def __init__(self, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.outputs_per_pixel = channels * LEVELS

    def nats(self, pixels, parameters):
        """-ln p of each pixel value. float32 `[N, H, W, C]`."""
        logits = tf.reshape(tf.cast(parameters, self.dtype), [-1, LEVELS])
        return tf.reshape(_cross_entropy(logits, tf.reshape(pixels, [-1])), tf.shape(pixels))

    def images(self, parameters):
        """The mean image, Σ v·p(v) of each pixel value, rounded. uint8 `[N, H, W, C]`.

        Not the most likely grey levels: those jump between far-apart modes from pixel to
        pixel, and their squared error is larger.
        """
        logits = tf.cast(parameters, self.dtype)
        shape = tf.concat([tf.shape(logits)[:-1], [-1, LEVELS]], axis=0)
        mass = tf.nn.softmax(tf.reshape(logits, shape))  # (N, H, W, C, 256)
        # A product with a matrix would be rounded to 10 bits where a GPU uses TF32.
        return to_image(tf.reduce_sum(mass * tf.range(LEVELS, dtype=self.dtype), axis=-1))


@tf.custom_gradient
def _cross_entropy(logits, labels):
    """-ln softmax(logits)[labels]. float32 `[M, 256]`, uint8 `[M]` -> float32 `[M]`.

    `tf.nn.sparse_softmax_cross_entropy_with_logits` is the same, but where op determinism is
    on, as it is in training, it keeps a whole log-softmax for the gradient.
    """
    labels = tf.cast(labels, tf.int32)
    log_total = tf.reduce_logsumexp(logits, axis=-1)
    nats = log_total - tf.gather(logits, labels, batch_dims=1)

    def gradient(upstream):
        mass = tf.exp(logits - log_total[:, None])
        chosen = labels[:, None] == tf.range(LEVELS)
        return upstream[:, None] * tf.where(chosen, tf.math.expm1(-nats)[:, None], mass), None

    return nats, gradient
