"""Sampling from an autoregressive network over codes, inside one graph, a position at a time.

The network computes a row of what all positions of it share at once, then each position once,
from activations that it keeps (`Steps`); the network as a whole would compute every position
anew for each code. What it keeps, and how it computes, is its own affair.

A position is a chain of many small operations, which cost more to start than to compute unless
the batch is large, hence as few of them as possible (`benchmarks/sampling.py` measures it). XLA
is not used: with a Gated PixelCNN it is 1.0 to 1.6 times as fast on a CPU, compiles for seconds
for each batch size anew, and a TensorFlow Serving binary need not have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import tensorflow as tf

from models.draws import draw, noise

# A structure of tensors, of the same shapes at each step.
State = Any
# (index, logits [N, K]) -> codes, int64 [N]. The index counts the codes of an image, row by row,
# and group by group in a position; they are drawn in this order.
Select = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Steps(Protocol):
    """A network for N images of which each code is drawn given all before it.

    Weights are best read when this is made: the methods are called inside of loops.

    Attributes:
        code_shape: `(h, w)`, rows and columns of the codes, or `(h, w, g)` with g per position.
    """

    code_shape: tuple[int, ...]

    def embed(self, codes) -> tf.Tensor:
        """int64 `[N, (w)]`, or `[N, (w), g]` with several per position -> `[N, (w), units]`.

        Outside of the grid there are zeros instead.
        """

    def start(self) -> State:
        """What is known in front of the first row."""

    def row(self, row, above, state: State) -> tuple[State, State, State]:
        """Begins a row, of which codes are drawn or given.

        Args:
            row: its number, int32 scalar.
            above: the row above embedded, `[N, w, units]`.
            state: what was known in front of the row above.

        Returns:
            what all positions of the row share, what is known in front of its first position,
            and what is known in front of the row.
        """

    def position(self, column, before, shared: State, state: State) -> tuple[tf.Tensor, State]:
        """Computes a position.

        Args:
            column: its number, int32 scalar.
            before: the position to the left embedded, `[N, units]`.
            shared: what the positions of the row share.
            state: what was known in front of the position to the left.

        Returns:
            what decides the codes here, `[N, units]`, and what is known in front of the position.
        """

    def logits(self, u, group: int) -> tf.Tensor:
        """`[N, units]`, as `position` and `extend` return it -> float32 `[N, K]`."""

    def extend(self, u, group: int, codes) -> tf.Tensor:
        """What decides the codes after those of `group`, int64 `[N]`, at the same position."""


def sample(steps: Steps, codes, seed, temperature, top_k=0, top_p=1.0, rows_given=0) -> tf.Tensor:
    """Codes drawn from a network, or rows of `codes` continued; see `GatedPixelCNN.sample`.

    As `generate`, whose `select` is `models.draws.draw`.
    """
    uniform = tf.transpose(noise(seed, tf.shape(codes)[0], math.prod(steps.code_shape)))

    def select(index, logits):
        return draw(logits, tf.gather(uniform, index), temperature, top_k, top_p)

    return generate(steps, select, codes, rows_given)


def generate(steps: Steps, select: Select, codes, rows_given=0) -> tf.Tensor:
    """Codes position by position, row by row.

    Args:
        steps: the network.
        select: chooses a code of each image given its logits.
        codes: int32 `[N, *code_shape]`, of which the first `rows_given` rows are taken as they
            are.
        rows_given: int32 scalar.

    Returns:
        int32 `[N, *code_shape]`.
    """
    rows, columns, *several = steps.code_shape  # several: [g], or [] with one code per position
    # TensorFlow computes with int32 on the CPU: a GPU would wait for it at each position.
    codes = tf.cast(codes, tf.int64)
    outside = tf.zeros_like(steps.embed(tf.zeros_like(codes[:, 0])))  # (N, w, units)

    def choose(position, u):
        """Draws the codes of a position one after the other: int64 `[N]`, or `[N, g]`."""
        if not several:
            return select(position, steps.logits(u, 0))
        # Not a loop of the graph, which would hand on all weights at every step.
        chosen: list[tf.Tensor] = []
        for group in range(*several):
            if group:
                u = steps.extend(u, group - 1, chosen[-1])
            chosen.append(select(position * several[0] + group, steps.logits(u, group)))
        return tf.stack(chosen, axis=-1)

    def row_step(row, above, state, drawn):
        shared, in_front, state = steps.row(row, above, state)

        def position_step(column, before, known, row_codes):
            u, known = steps.position(column, before, shared, known)
            here = choose(row * columns + column, u)
            return column + 1, steps.embed(here), known, row_codes.write(column, here)

        given = tf.TensorArray(tf.int64, columns, element_shape=[None, *several])
        _, _, _, row_codes = tf.while_loop(
            lambda column, *_: column < columns,
            position_step,
            (
                tf.where(row < rows_given, columns, 0),  # a given row is done
                outside[:, 0],
                in_front,
                given.unstack(_swapped(codes[:, row])),
            ),
        )
        row_codes = _swapped(row_codes.stack())  # (N, w) or (N, w, g)
        return row + 1, steps.embed(row_codes), state, drawn.write(row, row_codes)

    _, _, _, drawn = tf.while_loop(
        lambda row, *_: row < rows,
        row_step,
        (
            0,
            outside,
            steps.start(),
            tf.TensorArray(tf.int64, rows, element_shape=[None, columns, *several]),
        ),
    )
    return tf.cast(_swapped(drawn.stack()), tf.int32)


def _swapped(x) -> tf.Tensor:
    """The first two dimensions of `[a, b, ...]` swapped."""
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
