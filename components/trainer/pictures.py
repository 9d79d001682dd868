"""Images in rows and columns, as one picture."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

# Width in pixels that small pictures are enlarged up to in a file.
_WIDTH = 800


def image_grid(images) -> tf.Tensor:
    """Tiles images. uint8 `[rows, columns, H, W, C]` -> uint8 `[rows·H, columns·W, C]`."""
    rows, columns, height, width, channels = images.shape
    return tf.reshape(
        tf.transpose(images, [0, 2, 1, 3, 4]), [rows * height, columns * width, channels]
    )


def write_png(picture: tf.Tensor, path: Path) -> None:
    """Writes uint8 `[H, W, 1 or 3]`, each pixel a square where the picture is small."""
    side = max(1, _WIDTH // picture.shape[1])
    large = tf.repeat(tf.repeat(picture, side, axis=0), side, axis=1)
    path.write_bytes(tf.io.encode_png(large).numpy())
