"""What a loop pays to keep what it computes, by how much of it there is.

    python -m benchmarks.cache

A position of 16 images adds a key and a value of 4 heads with 16 channels each, as one block of a
transformer does, and nothing is computed with them but one sum. If a loop wrote in place, a
position would cost the same whatever the number of positions. Contenders run by turns, medians
of the rounds. Prints Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import tensorflow as tf

IMAGES, HEADS, CHANNELS = 16, 4, 16
SHAPE = [2, IMAGES, HEADS]  # keys and values


def new(last) -> tf.Tensor:
    """The key and the value of a position, which depend on all before them: `[*SHAPE, d]`."""
    return tf.fill([*SHAPE, CHANNELS], 1e-3) + last


def whole(positions: int, write: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]):
    """One loop that writes into a tensor of all positions, the first dimension."""

    def step(position, cache, last):
        cache = write(cache, position, new(last))
        return position + 1, cache, tf.reduce_sum(cache[position]) * 1e-6

    # Of a size that is known only when it runs, as in a released model.
    def sample(images):
        cache = tf.zeros([positions, 2, images, HEADS, CHANNELS])
        return tf.while_loop(lambda p, *_: p < positions, step, (0, cache, tf.constant(0.0)))[2]

    return sample


def scattered(cache, position, entry):
    return tf.tensor_scatter_nd_update(cache, [[position]], entry[None])


def chosen(cache, position, entry):
    here = tf.range(tf.shape(cache)[0]) == position
    return tf.where(here[:, None, None, None, None], entry, cache)


def by_rows(positions: int):
    """As the transformer does: a row is written into a tensor of its own, and then appended."""
    columns = int(positions**0.5)

    def row_step(row, above, last):
        def step(column, own, last):
            here = (tf.range(columns) == column)[:, None]
            own = tf.where(here, new(last)[..., None, :], own)
            return column + 1, own, tf.reduce_sum(own[..., column, :]) * 1e-6

        own = tf.zeros([*SHAPE, columns, CHANNELS])
        _, own, last = tf.while_loop(lambda c, *_: c < columns, step, (0, own, last))
        return row + 1, tf.concat([above, own], axis=3), last

    def sample(images):
        above = tf.zeros([2, images, HEADS, 0, CHANNELS])
        above = tf.raw_ops.PlaceholderWithDefault(
            input=above, shape=[2, IMAGES, HEADS, None, CHANNELS]
        )
        start = (0, above, tf.constant(0.0))
        return tf.while_loop(lambda row, *_: row < positions // columns, row_step, start)[2]

    return sample


CONTENDERS = {
    "`tensor_scatter_nd_update`": lambda positions: whole(positions, scattered),
    "`where`": lambda positions: whole(positions, chosen),
    "by rows (ours)": by_rows,
}


def measure(positions: int, rounds: int) -> dict[str, float]:
    """µs per position of each contender."""
    images = tf.constant(IMAGES)
    spec = tf.TensorSpec([], tf.int32)
    compiled = {
        name: tf.function(make(positions)).get_concrete_function(spec)
        for name, make in CONTENDERS.items()
    }
    times: dict[str, list[float]] = {name: [] for name in compiled}
    for round_ in range(rounds + 1):  # the first is not counted
        for name, function in compiled.items():
            started = time.perf_counter()
            function(images).numpy()
            if round_:
                times[name].append(1e6 * (time.perf_counter() - started) / positions)
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print("µs per position, of one block.\n")
    print(f"| codes | all of them, MiB | {' | '.join(CONTENDERS)} |")
    print("|---" * (2 + len(CONTENDERS)) + "|")
    for side in arguments.sides:
        found = [f"{each:.0f}" for each in measure(side * side, arguments.rounds).values()]
        mib = side * side * 2 * IMAGES * HEADS * CHANNELS * 4 / 2**20
        print(f"| {side}×{side} | {mib:.1f} | {' | '.join(found)} |")


if __name__ == "__main__":
    main()
