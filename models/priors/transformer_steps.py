"""A transformer a position at a time, with the keys and values of those before."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from models.priors import block
from models.priors.block import BlockWeights, Turn
from models.priors.group_head import HeadSteps, read_table
from models.priors.prior import Place
from models.priors.product import product

if TYPE_CHECKING:
    from models.priors.transformer import Transformer


class _Row(NamedTuple):
    """What the positions of a row share."""

    given: tf.Tensor  # (N, w, units), or (1, w, units): label, place and context
    turn: Turn  # (w, d) each
    above: list[tf.Tensor]  # per block the keys and values of all rows above, (2, N, H, T, d)


class _Known(NamedTuple):
    """What is known behind a code."""

    row: list[tf.Tensor]  # per block the keys and values of this row so far, (2, N, H, w, d)
    u: tf.Tensor | tuple[()]  # (N, units), what decides the position's next code, if any


class TransformerSteps:
    """A transformer a position at a time: `models.priors.prior.Steps`.

    Keys and values are kept. A loop that writes one position into a tensor of all of them copies
    the whole of it at every step (`benchmarks/cache.py`; the operation that would not writes into
    constants too). So those of a row are written into a tensor of one row, and what all the rows
    above have is what the loop over a row only reads; a row is appended to it at its end.

    Args:
        prior: the network.
        labels: int32 `[N]`, -1 for unconditional.
        context: float32 `[N, h, w, context channels]`, if the network has one.
    """

    def __init__(self, prior: Transformer, labels, context=None):
        self.code_shape = prior.code_shape
        self._prior = prior
        self._count = tf.shape(labels)[0]
        self._heads = prior.config.heads
        self._table = read_table(prior.embedding)
        rows, columns = prior.code_shape[:2]
        given = prior.given_by_rows(context, read_table(prior.row), read_table(prior.column))
        self._given = given + read_table(prior.label)(labels + 1)[:, None]  # (h, N, w, units)
        self._channels = self._given.shape[-1] // self._heads  # of a head
        turn = prior.turn(self._given.dtype)
        self._turn = [tf.reshape(each, [rows, columns, self._channels]) for each in turn]
        # Stacked: a loop hands on each tensor that it uses separately, at every step.
        weights = zip(*(layer.weights_now() for layer in prior.blocks), strict=True)
        self._blocks = BlockWeights(*map(tf.stack, weights))
        self._head = HeadSteps(prior.logits, prior.group_head if prior.groups > 1 else None)

    def start(self, codes, rows_given) -> list[tf.Tensor]:
        """For each block the keys and values of the rows given, `[2, N, H, T, d]`."""
        shape = [2, self._count, self._heads, 0, self._channels]
        nothing = [tf.zeros(shape, self._given.dtype) for _ in self._prior.blocks]
        # Of a length that a loop over rows changes.
        loose = [2, None, self._heads, None, self._channels]
        nothing = [tf.raw_ops.PlaceholderWithDefault(input=x, shape=loose) for x in nothing]
        if isinstance(rows_given, int) and rows_given == 0:
            return nothing
        columns = self.code_shape[1]
        several = codes.shape[3:]
        codes = tf.reshape(codes, [self._count, -1, *several])
        before = tf.concat([tf.zeros_like(codes[:, :1]), codes], axis=1)  # of each position

        def given_row(row, state):
            first = row * columns
            x = self._embed(before[:, first : first + columns])  # (N, w, units)
            is_first = (first + tf.range(columns) == 0)[:, None]
            x = tf.where(is_first, tf.zeros_like(x), x) + tf.gather(self._given, row)
            turn = Turn(*(tf.gather(each, row) for each in self._turn))
            longer = []
            for weights, above in zip(self._each(), state, strict=True):
                x, own = block.whole(weights, x, self._heads, turn, [above])
                longer.append(tf.concat([above, own], axis=3))
            return row + 1, longer

        return tf.while_loop(lambda row, _: row < rows_given, given_row, (0, nothing))[1]

    def row(self, state: list[tf.Tensor], above, row) -> tuple[_Row, _Known]:
        turn = Turn(*(tf.gather(each, row) for each in self._turn))
        shape = [2, self._count, self._heads, self.code_shape[1], self._channels]
        empty = [tf.zeros(shape, self._given.dtype) for _ in state]
        return _Row(tf.gather(self._given, row), turn, state), _Known(empty, ())

    def step(self, known: _Known, previous, place: Place, shared: _Row):
        if place.group == 0:
            u, row = self._position(known.row, previous, place, shared)
        else:
            u, row = self._head.extend(known.u, place.group - 1, previous), known.row
        logits = self._head.logits(u, place.group)
        return logits, _Known(row, () if place.group == self._prior.groups - 1 else u)

    def finish(self, shared: _Row, known: _Known) -> list[tf.Tensor]:
        pairs = zip(shared.above, known.row, strict=True)
        return [tf.concat([above, row], axis=3) for above, row in pairs]

    def _position(self, known, previous, place: Place, shared: _Row):
        before = self._embed(previous)
        is_first = tf.equal(place.row + place.column, 0)
        x = tf.where(is_first, tf.zeros_like(before), before)
        x += tf.gather(shared.given, place.column, axis=1)  # (N, units)
        turn = Turn(*(tf.gather(each, place.column) for each in shared.turn))
        columns = tf.range(self.code_shape[1])
        here, visible = (columns == place.column)[:, None], columns <= place.column
        rows = []
        for weights, above, row in zip(self._each(), shared.above, known, strict=True):
            query, key, value = block.project(weights, x, self._heads, turn)  # (N, H, d)
            row = tf.where(here, tf.stack([key, value])[:, :, :, None], row)
            mixed = block.attention(query[:, :, None], [above, row], visible)
            x += product(tf.reshape(mixed, tf.shape(x)), weights.output)
            x += block.mlp(weights, x)
            rows.append(row)
        return block.normalised(x), rows

    def _embed(self, codes):
        return self._prior.embed(codes, self._table)

    def _each(self) -> list[BlockWeights]:
        return [BlockWeights(*each) for each in zip(*map(tf.unstack, self._blocks), strict=True)]
