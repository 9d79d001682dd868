"""Random changes to training images that leave what they show."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from components import features
from components.trainer.records import Batch


@dataclasses.dataclass(frozen=True)
class Augment:
    """Mirrors half of the images, and moves all a little.

    What happens to an image is a function of the seed, the step and its place in the whole
    batch, so that it is the same however the batch is shared among replicas.

    Attributes:
        flip: mirror left to right.
        shift: largest move along each axis, pixels; the edge is repeated.
    """

    flip: bool
    shift: int

    def __call__(self, batch: Batch, seed: int, step: tf.Tensor, first: tf.Tensor) -> Batch:
        """Changes `image`, uint8 `[n, H, W, C]`.

        Args:
            batch: one part of the batch of a step.
            seed: of the training.
            step: int64 [].
            first: int64 [], place in the whole batch of the part's first image.
        """
        images = batch[features.IMAGE]
        count = tf.shape(images)[0]
        key = tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)])
        places = tf.cast(first, tf.int32) + count  # drawn from the first image of the batch on
        drawn = tf.random.stateless_uniform([places, 3], key)[-count:]  # (n, 3)
        return {**batch, features.IMAGE: self._moved(images, drawn)}

    def _moved(self, images, drawn):
        mirrored = drawn[:, 2:] < 0.5 if self.flip else None
        return moved(images, moves_of(drawn[:, :2], self.shift), mirrored)


def moves_of(drawn, shift: int):
    """Moves of at most `shift` pixels along both axes, of numbers in [0, 1). -> int32 `[n, 2]`."""
    return tf.cast(drawn * (2 * shift + 1), tf.int32) - shift


def moved(images, moves, mirrored=None):
    """Images moved, then mirrored: one gather, which reads the columns of these backwards.

    Args:
        images: uint8 `[n, H, W, C]`.
        moves: int32 `[n, 2]`, rows and columns; the edge is repeated.
        mirrored: bool `[n, 1]`; none by default.
    """
    height, width, channels = images.shape[1:]
    rows = tf.clip_by_value(tf.range(height) + moves[:, :1], 0, height - 1)  # (n, H)
    columns = tf.clip_by_value(tf.range(width) + moves[:, 1:], 0, width - 1)  # (n, W)
    if mirrored is not None:
        columns = tf.where(mirrored, columns[:, ::-1], columns)
    rows += height * tf.range(tf.shape(images)[0])[:, None]  # of all images, one below another
    pixels = tf.reshape(images, [-1, channels])  # (n·H·W, C)
    return tf.gather(pixels, width * rows[:, :, None] + columns[:, None, :])  # (n, H, W, C)


def build_augment(flip: bool, shift: int) -> Augment | None:
    """None where nothing is to be changed."""
    return Augment(flip, shift) if flip or shift else None
