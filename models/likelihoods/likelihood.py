"""What all distributions of the pixels have in common."""

from __future__ import annotations

import abc
import math

import keras
import tensorflow as tf

from models.precision import state_dtype
from models.updates import Updates

# Grey levels of a uint8 pixel.
LEVELS = 256


class Likelihood(keras.layers.Layer, abc.ABC):
    """A distribution of uint8 pixels, given the decoder's output.

    Every subclass is a proper distribution of the 256 grey levels: its masses sum to one, so
    that bits are comparable across all of them. All arithmetic is in float32, also where the
    decoder computes in a narrower type.

    Attributes:
        outputs_per_pixel: P, channels that the decoder must put out.
        loss_name: what `loss` measures, `nmse` or `nats_per_dim`.

    Call arguments, all methods:
        pixels: uint8 `[N, H, W, C]`.
        parameters: float `[N, H, W, P]`, the decoder's output; of any size, as long as it is
            finite.
    """

    outputs_per_pixel: int
    loss_name = "nats_per_dim"

    def __init__(self, **kwargs):
        super().__init__(dtype=state_dtype(), **kwargs)

    @abc.abstractmethod
    def nats(self, pixels, parameters):
        """-ln p(pixels | parameters) of each pixel. float32 `[N, H, W, ...]`.

        What it is summed over within an image is an image's -ln p, whether a pixel's channels
        are independent (one term per channel) or not (one term per pixel).
        """

    @abc.abstractmethod
    def images(self, parameters):
        """The mean image, rounded to grey levels. uint8 `[N, H, W, C]`.

        The mean has the least expected squared error of all images, which is what NMSE and
        PSNR judge a reconstruction by. It depends on nothing but the parameters.
        """

    def bits(self, pixels, parameters):
        """-log2 p(pixels | parameters) of each image. float32 `[N]`."""
        return self._nats_per_image(pixels, parameters) / math.log(2.0)

    def loss(self, pixels, parameters):
        """Reconstruction term of the training loss: -ln p in nats per pixel value; a scalar.

        The mean over N·H·W·C, so that neither the size of the images nor that of the batch
        changes its scale: it starts near ln 256 ≈ 5.5, and divided by ln 2 it is the decoder's
        share of bits/dim. The commitment term beside it is a mean over N·h·w·D, so relative to
        the sums of eq. 3 in the paper, beta counts (H·W·C) / (h·w·D) fold.
        """
        values = math.prod(pixels.shape[1:])
        return tf.reduce_mean(self._nats_per_image(pixels, parameters)) / values

    def updates(self, loss) -> Updates:
        """State after a step of training, given `loss` of the whole batch. By default, none."""
        return []

    def _nats_per_image(self, pixels, parameters):
        nats = self.nats(pixels, parameters)
        return tf.reduce_sum(nats, axis=list(range(1, nats.shape.rank)))


def to_image(grey):
    """Rounds and clips grey levels. float -> uint8, same shape."""
    return tf.cast(tf.clip_by_value(tf.round(grey), 0.0, LEVELS - 1.0), tf.uint8)
