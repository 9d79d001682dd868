"""A Gated PixelCNN a row and a position at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from models.priors import gated
from models.priors.group_head import HeadSteps, read_dense, read_table
from models.priors.prior import Place

if TYPE_CHECKING:
    from models.priors.pixelcnn import GatedPixelCNN


class _Row(NamedTuple):
    """What the positions of a row share."""

    places: tf.Tensor  # (1, w, units), or (N, w, units) with context
    contributions: tf.Tensor  # (layers, N, w, 2·units), of the vertical stack
    entered: list[tf.Tensor]  # per layer the rows that entered it last, (N, reach, w, units)


class _Known(NamedTuple):
    """What is known behind a code."""

    last: tf.Tensor  # (layers, N, reach·units), the positions that entered each layer last
    u: tf.Tensor | tuple[()]  # (N, head units), what decides the position's next code, if any


class PixelCNNSteps:
    """A Gated PixelCNN a row and a position at a time: `models.priors.prior.Steps`.

    Nothing here is an approximation: as the convolutions reach up and to the left only,

    - the vertical stack of a row follows from the last k // 2 rows that entered each layer. It
      is computed for a row at once, and is most of the arithmetic of a forward pass;
    - the horizontal stack of a position follows from the last k // 2 positions that entered each
      layer, and from what the vertical stack adds to it;
    - several codes of a position share both stacks.

    Args:
        prior: the network.
        labels: int32 `[N]`, -1 for unconditional.
        context: float32 `[N, h, w, context channels]`, if the network has one.
    """

    def __init__(self, prior: GatedPixelCNN, labels, context=None):
        self.code_shape = prior.code_shape
        self._prior = prior
        self._count = tf.shape(labels)[0]
        self._units = prior.config.hidden_units
        self._reach = prior.config.kernel_size // 2
        self._table = read_table(prior.embedding)
        row, column = read_table(prior.row), read_table(prior.column)
        self._places = prior.given_by_rows(context, row, column)
        self._rows = [layer.row_weights(labels + 1) for layer in prior.gated]
        # The layers' weights are stacked: a loop hands on each tensor that it uses separately,
        # at every step, while taking a stack apart copies nothing.
        weights = zip(*(layer.position_weights() for layer in prior.gated), strict=True)
        kernels, *outputs = map(tf.stack, weights)
        # One position has one window: the convolution is a product.
        kernels = tf.reshape(kernels, [len(prior.gated), -1, 2 * self._units])
        self._positions = gated.PositionWeights(kernels, *outputs)
        self._decide = read_dense(prior.head)
        self._head = HeadSteps(prior.logits, prior.group_head if prior.groups > 1 else None)

    def start(self, codes, rows_given) -> list[tf.Tensor]:
        """For each layer the rows that entered it last, `[N, reach, w, units]`."""
        shape = [self._count, self._reach, self.code_shape[1], self._units]
        nothing = [tf.zeros(shape, self._places.dtype) for _ in self._rows]
        if isinstance(rows_given, int) and rows_given == 0:
            return nothing

        def given_row(row, state):
            above = codes[:, tf.maximum(row - 1, 0)]
            return row + 1, self.row(state, above, row)[0].entered

        return tf.while_loop(lambda row, _: row < rows_given, given_row, (0, nothing))[1]

    def row(self, state, above, row) -> tuple[_Row, _Known]:
        places = tf.gather(self._places, row)
        above = self._embed(above)  # (N, w, units)
        x = (tf.where(row > 0, above, tf.zeros_like(above)) + places)[:, None]
        contributions, entered = [], []
        padding = [[0, 0], [0, 0], [self._reach, self._reach], [0, 0]]
        for weights, last in zip(self._rows, state, strict=True):
            window = tf.concat([last, x], axis=1)  # (N, reach + 1, w, units)
            entered.append(window[:, 1:] if self._reach > 1 else x)
            x, contribution = gated.rows(weights, x, window, padding)
            contributions.append(contribution[:, 0])
        in_front = tf.zeros([len(entered), self._count, self._reach * self._units], x.dtype)
        return _Row(places, tf.stack(contributions), entered), _Known(in_front, ())

    def step(self, known: _Known, previous, place: Place, shared: _Row):
        if place.group == 0:
            u, last = self._position(known.last, previous, place.column, shared)
        else:
            u, last = self._head.extend(known.u, place.group - 1, previous), known.last
        logits = self._head.logits(u, place.group)
        return logits, _Known(last, () if place.group == self._prior.groups - 1 else u)

    def finish(self, shared: _Row, known: _Known) -> list[tf.Tensor]:
        return shared.entered

    def _position(self, known, previous, column, shared: _Row):
        before = self._embed(previous)
        before = tf.where(column > 0, before, tf.zeros_like(before))  # nothing left of the grid
        x = before + tf.gather(shared.places, column, axis=-2)  # (N, units)
        stacked = known, tf.gather(shared.contributions, column, axis=2), *self._positions
        entered = []
        for last, contribution, *own in zip(*map(tf.unstack, stacked), strict=True):
            entered.append(x)
            window = tf.concat([last, x], axis=-1)  # (N, (reach + 1)·units)
            weights = gated.PositionWeights(*own)
            x = gated.residual(weights, x, tf.matmul(window, weights.kernel) + contribution)
        last = tf.stack(entered)
        if self._reach > 1:
            last = tf.concat([known[:, :, self._units :], last], axis=-1)
        return gated.decide(x, self._decide), last

    def _embed(self, codes):
        return self._prior.embed(codes, self._table)
