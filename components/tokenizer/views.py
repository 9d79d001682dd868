"""Views of a training image, so that the prior sees the codes of more than the image itself."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

import tensorflow as tf

from components.trainer.augment import moved, moves_of
from models.config import Positive, Section

# The split of which there are several views; what is held out is measured as it is.
SPLIT = "train"
# Batches of a file, and views of each, have numbers below this.
_MOST_BATCHES = 2**30


class Views(Section):
    """How many views there are of an image, and how they differ from it.

    The first is the image itself. Of the others every second one is mirrored, beginning with the
    first of them, where `flip` says so, and all are moved at random where `shift` does. The moves
    are a function of the seed, the name of the file, and the image's place in it.
    """

    # Views of each image, the image itself included.
    count: Positive = 1
    # Mirror left to right.
    flip: bool = False
    # Largest move along each axis, pixels; the edge is repeated.
    shift: int = 0
    # Of the moves.
    seed: int = 0

    def of(self, images: tf.Tensor, file: str, batch: int) -> Iterator[tf.Tensor]:
        """Yields one view after the other.

        Args:
            images: uint8 `[n, H, W, C]`.
            file: path of the file that they are from.
            batch: which of its batches they are.
        """
        yield images
        place = zlib.crc32(os.path.basename(file).encode()) * _MOST_BATCHES + batch * self.count
        for view in range(1, self.count):
            key = tf.constant([self.seed, place + view], tf.int64)
            drawn = tf.random.stateless_uniform([len(images), 2], key, alg="philox")
            mirrored = tf.fill([len(images), 1], self.flip and view % 2 == 1)
            yield moved(images, moves_of(drawn, self.shift), mirrored)
