"""What every prior over codes is: a likelihood, and the same a code at a time."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from models.config import PriorConfig

# A structure of tensors.
State = Any


class Place(NamedTuple):
    """Where a code is. Codes are drawn row by row, and group by group in a position."""

    row: tf.Tensor  # int32 scalar
    column: tf.Tensor  # int32 scalar
    group: int


class Steps(Protocol):
    """A prior for N images of which each code is drawn given all before it.

    A `step` gives the logits of one code. Steps of a row lie between `row` and `finish`, since
    both networks have something to do there: a Gated PixelCNN computes what all positions of the
    row get from the rows above, a transformer appends the row to those that it looks back at. To
    decide in each step whether a row begins made sampling from a Gated PixelCNN 3 to 11% slower
    (medians of runs by turns, 7×7 and 16×16 codes, 1 to 64 images, two busy cores), and a loop
    that writes into a cache of all positions copies the whole of it at every step.

    Weights are read, and what depends on labels and context is computed, when this is made: the
    methods are called inside of loops. Nothing is dropped, and all is computed in float32.

    Attributes:
        code_shape: `(h, w)`, rows and columns of the codes, or `(h, w, g)` with g per position.
    """

    code_shape: tuple[int, ...]

    def start(self, codes, rows_given) -> State:
        """What is known in front of the first row that is drawn.

        Args:
            codes: int64 `[N, *code_shape]`; the rows from `rows_given` on may hold anything.
            rows_given: int scalar, 0 to h.
        """

    def row(self, state: State, above, row) -> tuple[State, State]:
        """Begins a row.

        Args:
            state: what is known in front of the row, from `start` or `finish`.
            above: int64 `[N, w]`, or `[N, w, g]`: codes of the row above; in row 0 any codes.
            row: its number, int32 scalar.

        Returns:
            what all positions of the row share, and what is known in front of its first position.
        """

    def step(self, known: State, previous, place: Place, shared: State) -> tuple[tf.Tensor, State]:
        """Computes a code.

        Args:
            known: what `row` or the step before returned.
            previous: int64; the codes drawn last. For group 0 those of the position before,
                `[N]`, or `[N, g]` with several; any codes at the very first. For the other groups
                that of the group before, `[N]`.
            place: of the code.
            shared: what `row` returned.

        Returns:
            logits, float32 `[N, K]`, and what is known behind the code. It has the structure
            and the shapes of `known` after the last group of a position.
        """

    def finish(self, shared: State, known: State) -> State:
        """What is known in front of the next row, at the end of a row."""


class Prior(Protocol):
    """p(codes | label, context), one code after the other; a Keras model.

    Attributes:
        config: sizes.
        num_codes: K.
        num_classes: labels are 0 … num_classes - 1; 0 for an unconditional prior.
        code_shape: `(h, w)`, rows and columns of the codes, or `(h, w, g)` with g per position.
        context_channels: of the context; 0 for a prior that is given none.
    """

    config: PriorConfig
    num_codes: int
    num_classes: int
    code_shape: tuple[int, ...]
    context_channels: int

    @property
    def variables(self) -> list[Any]:
        """Of the Keras model, in the order of a release."""

    def count_params(self) -> int:
        """Numbers in them."""

    def __call__(self, codes, labels, dropout_key=None, context=None) -> tf.Tensor:
        """Logits of each code given all before it.

        Args:
            codes: int32 `[N, *code_shape]`.
            labels: int32 `[N]`, -1 for unconditional.
            dropout_key: int64 `[2]` in training, another one for every part of every batch; None
                drops nothing.
            context: float32 `[N, h, w, context_channels]` if it has channels: what is known of
                each position besides, and of all of them.

        Returns:
            float32 `[N, *code_shape, K]`.
        """

    def log_prob(self, codes, labels, dropout_key=None, context=None) -> tf.Tensor:
        """log p(codes | labels, context) in nats: float32 `[N]`; arguments as above."""

    def start(self, labels, context=None) -> Steps:
        """The same a code at a time, for images with these labels, int32 `[N]`, and context."""
