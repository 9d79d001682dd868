"""Images in rows and columns, as one picture."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

# Width in pixels that small pictures are enlarged up to in a file.
_WIDTH = 800
# Gray level of the lines between images.
_LINE = 96


def image_grid(images) -> tf.Tensor:
    """Tiles images, with a gray line between them, as images that end in black would run together.

    uint8 `[rows, columns, H, W, C]` -> uint8 `[rows·(H + 1) - 1, columns·(W + 1) - 1, C]`.
    """
    rows, columns, height, width, channels = images.shape
    lined = tf.pad(images, [[0, 0], [0, 0], [0, 1], [0, 1], [0, 0]], constant_values=_LINE)
    tiled = tf.reshape(
        tf.transpose(lined, [0, 2, 1, 3, 4]),
        [rows * (height + 1), columns * (width + 1), channels],
    )
    return tiled[:-1, :-1]


def write_png(picture: tf.Tensor, path: Path) -> None:
    """Writes uint8 `[H, W, 1 or 3]`, each pixel a square where the picture is small."""
    side = max(1, _WIDTH // picture.shape[1])
    large = tf.repeat(tf.repeat(picture, side, axis=0), side, axis=1)
    path.write_bytes(tf.io.encode_png(large).numpy())
