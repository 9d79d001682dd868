"""Cost of the changes to training images: one gather of pixels, beside a gather an axis.

    python -m benchmarks.augmentation

Mirrored and moved by up to a sixteenth of the side, a batch at a time, as an input pipeline does
it. The rounds of both ways alternate. Prints Markdown.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from components import features
from components.trainer.augment import Augment

SHAPES = [(64, 256, 256, 3), (128, 32, 32, 3), (128, 8, 8, 1)]
ROUNDS = 9
# Least time of a round, seconds.
ROUND = 0.3
SEED = 7


def one_gather(augment: Augment, images: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """What the training does. uint8 `[n, H, W, C]` -> the same."""
    return augment({features.IMAGE: images}, SEED, step, tf.constant(0, tf.int64))[features.IMAGE]


def by_axis(augment: Augment, images: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """The same with a gather of rows, one of columns, and a choice between two whole batches."""
    count, height, width = images.shape[:3]
    key = tf.stack([tf.constant(SEED, tf.int64), step])
    drawn = tf.random.stateless_uniform([count, 3], key)
    moves = tf.cast(drawn[:, :2] * (2 * augment.shift + 1), tf.int32) - augment.shift
    rows = tf.clip_by_value(tf.range(height) + moves[:, :1], 0, height - 1)
    columns = tf.clip_by_value(tf.range(width) + moves[:, 1:], 0, width - 1)
    images = tf.gather(images, rows, axis=1, batch_dims=1)
    images = tf.gather(images, columns, axis=2, batch_dims=1)
    return tf.where(drawn[:, 2, None, None, None] < 0.5, images[:, :, ::-1], images)


def milliseconds(shape: tuple[int, ...]) -> tuple[float, float]:
    """Of an image by either way: medians of the rounds."""
    augment = Augment(flip=True, shift=max(1, shape[1] // 16))
    images = tf.constant(np.random.default_rng(0).integers(0, 256, shape, "uint8"))
    ways = [
        tf.function(lambda step, way=way: way(augment, images, step))
        for way in (one_gather, by_axis)
    ]
    first = tf.constant(0, tf.int64)
    np.testing.assert_array_equal(*[way(first) for way in ways])
    rounds = [[_round(way) for way in ways] for _ in range(ROUNDS)]
    one, axis = (statistics.median(times) / shape[0] for times in zip(*rounds, strict=True))
    return 1e3 * one, 1e3 * axis


def _round(way: Callable[[tf.Tensor], tf.Tensor]) -> float:
    """Seconds of a batch."""
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < ROUND:
        way(tf.constant(done, tf.int64)).numpy()
        done += 1
    return (time.perf_counter() - started) / done


def main() -> None:
    print(f"uint8 images, mirrored and moved; medians of {ROUNDS} rounds, ms an image.\n")
    print("| batch | one gather of pixels | a gather an axis | times as fast |\n|---|---|---|---|")
    for shape in SHAPES:
        print(f"{shape}", file=sys.stderr, flush=True)
        one, axis = milliseconds(shape)
        name = "×".join(map(str, shape))
        print(f"| {name} | {one:.4f} | {axis:.4f} | {axis / one:.1f} |")


if __name__ == "__main__":
    main()
