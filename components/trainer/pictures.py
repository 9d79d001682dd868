"""Images in rows and columns, as one picture."""

from __future__ import annotations

import tensorflow as tf


def image_grid(images) -> tf.Tensor:
    """Tiles images. uint8 `[rows, columns, H, W, C]` -> uint8 `[rows·H, columns·W, C]`."""
    rows, columns, height, width, channels = images.shape
    return tf.reshape(
        tf.transpose(images, [0, 2, 1, 3, 4]), [rows * height, columns * width, channels]
    )
