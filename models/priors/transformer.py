"""A decoder-only transformer (Vaswani et al. 2017) as a prior over codes."""

from __future__ import annotations

import keras
import tensorflow as tf

from models.precision import state_dtype
from models.priors.block import Block, Turn, normalised, turns
from models.priors.group_head import GroupHead
from models.priors.network import PriorNetwork, key_of_layer
from models.priors.transformer_steps import TransformerSteps
from models.recompute import recomputed


class Transformer(PriorNetwork):
    """A prior of blocks of attention to all positions before.

    A position is given the codes of the position before it, its label, and where it is; what is
    further back it looks up by attention. A learned vector of its row and one of its column say
    where it is, as to the Gated PixelCNN; how far other positions are from it shows in the scores
    themselves, by rotary positions. The codes of a position are summed, and told apart by
    `models.priors.group_head.GroupHead`.

    Arguments are those of `PriorNetwork`.
    """

    def _make_layers(self) -> None:
        config, units = self.config, self.config.hidden_units
        self.embedding = keras.layers.Embedding(self.groups * self.num_codes, units)
        self.label = keras.layers.Embedding(self.num_classes + 1, units)
        self.row = keras.layers.Embedding(self.code_shape[0], units)
        self.column = keras.layers.Embedding(self.code_shape[1], units)
        self.blocks = [
            Block(units, config.heads, config.dropout, config.layers) for _ in range(config.layers)
        ]
        if self.groups > 1:
            self.group_head = GroupHead(units, self.num_codes, self.groups)
        self.logits = keras.layers.Dense(self.num_codes, dtype=state_dtype())

    def call(self, codes, labels, dropout_key=None, context=None):
        rows, columns = self.code_shape[:2]
        units = self.config.hidden_units
        x = self.embed(codes, self.embedding)  # (N, h, w, units)
        before = tf.pad(tf.reshape(x, [-1, rows * columns, units]), [[0, 0], [1, 0], [0, 0]])
        given = self.given(context)
        label = self.label(labels + 1)[:, None]  # row 0 is "no label"
        given = tf.reshape(given, [-1, rows * columns, units])
        x = before[:, :-1] + label + given  # (N, T, units)
        turn = self.turn(x.dtype)
        for index, block in enumerate(self.blocks):
            key = key_of_layer(dropout_key, index)
            if self._recompute:
                x = recomputed(block, x, turn=turn, dropout_key=key)
            else:
                x = block(x, turn=turn, dropout_key=key)
        u = tf.reshape(normalised(x), [-1, rows, columns, units])
        return self.logits(self.group_head(u, codes) if self.groups > 1 else u)

    def turn(self, dtype) -> Turn:
        """Of the positions, row by row."""
        rows, columns = self.code_shape[:2]
        wide = tf.as_dtype(dtype if dtype == "float64" else "float32")
        turn = turns(rows, columns, self.config.hidden_units // self.config.heads, wide)
        return Turn(*(tf.cast(each, dtype) for each in turn))

    def start(self, labels, context=None) -> TransformerSteps:
        return TransformerSteps(self, labels, context)
