"""Transformed Examples, as all who read them see them: pixels and labels."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from components import features
from components.features import Pixels
from models.images import preprocess_images

Parse = Callable[[tf.Tensor], dict[str, tf.Tensor]]


def parser(shape: tuple[int, int, int], pixels: Pixels = "stored") -> Parse:
    """Parser of serialized Examples, string `[N]`.

    Args:
        shape: height, width and channels of the images.
        pixels: what the Examples hold.

    Returns:
        A function to `image`, uint8 `[N, H, W, C]`, and `label`, int64 `[N]`. It raises
        tf.errors.InvalidArgumentError, when run, for images of another size.
    """
    height, width, channels = shape
    spec = {
        features.IMAGE: tf.io.FixedLenFeature([], tf.string),
        features.LABEL: tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(examples, spec)
        held = parsed[features.IMAGE]
        if pixels == "encoded":
            found = preprocess_images(held, shape)
        else:
            raw = tf.io.decode_raw(held, tf.uint8)
            found = tf.reshape(raw, [tf.shape(held)[0], height, width, channels])
        return {features.IMAGE: found, features.LABEL: parsed[features.LABEL]}

    return parse
