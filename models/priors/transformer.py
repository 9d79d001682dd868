"""A decoder-only transformer (Vaswani et al. 2017) as a prior over codes."""

from __future__ import annotations

import keras
import tensorflow as tf

from models.config import PriorConfig
from models.precision import state_dtype
from models.priors.block import Block, Turn, normalised, turns
from models.priors.group_head import GroupHead, Layer
from models.priors.prior import embed_codes, log_prob
from models.priors.transformer_steps import TransformerSteps
from models.recompute import recomputed
from models.seeded import seeded


class Transformer(keras.Model):
    """p(codes | label), one code after the other: a `models.priors.prior.Prior`.

    A position is given the codes of the position before it, its label, and where it is; what is
    further back it looks up by attention. A learned vector of its row and one of its column say
    where it is, as to the Gated PixelCNN; how far other positions are from it shows in the scores
    themselves, by rotary positions. The codes of a position are summed, and told apart by
    `models.priors.group_head.GroupHead`.

    Args:
        config: sizes.
        num_codes: K.
        num_classes: labels are 0 … num_classes - 1; 0 classes makes an unconditional model.
        code_shape: `(h, w)`, rows and columns of the codes, or `(h, w, g)` with g per position.
        seed: seed of the weights.
        recompute: spend time for memory in training (`models.recompute`).
        context_channels: of the context; 0 for none.
    """

    def __init__(
        self,
        config: PriorConfig,
        num_codes: int,
        num_classes: int,
        code_shape: tuple[int, ...],
        seed: int = 0,
        recompute: bool = False,
        context_channels: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._recompute = recompute
        self.config = config
        self.num_codes = num_codes
        self.num_classes = num_classes
        self.code_shape = code_shape
        self.context_channels = context_channels
        self.groups = code_shape[2] if len(code_shape) == 3 else 1
        units = config.hidden_units
        with seeded(seed):
            self.embedding = keras.layers.Embedding(self.groups * num_codes, units)
            self.label = keras.layers.Embedding(num_classes + 1, units)
            self.row = keras.layers.Embedding(code_shape[0], units)
            self.column = keras.layers.Embedding(code_shape[1], units)
            self.blocks = [
                Block(units, config.heads, config.dropout, config.layers)
                for _ in range(config.layers)
            ]
            if self.groups > 1:
                self.group_head = GroupHead(units, num_codes, self.groups)
            self.logits = keras.layers.Dense(num_codes, dtype=state_dtype())
            context = None
            if context_channels:
                # Without a bias, as each place has one.
                self.context = keras.layers.Dense(units, use_bias=False)
                context = tf.zeros([1, *code_shape[:2], context_channels])
            self(tf.zeros([1, *code_shape], tf.int32), tf.constant([-1]), context=context)

    def call(self, codes, labels, dropout_key=None, context=None):
        rows, columns = self.code_shape[:2]
        units = self.config.hidden_units
        x = embed_codes(codes, self.embedding, self.num_codes, self.groups)  # (N, h, w, units)
        before = tf.pad(tf.reshape(x, [-1, rows * columns, units]), [[0, 0], [1, 0], [0, 0]])
        given = self.places(self.row, self.column)  # (h, w, units)
        if context is not None:
            given += self.context(context)
        label = self.label(labels + 1)[:, None]  # row 0 is "no label"
        given = tf.reshape(given, [-1, rows * columns, units])
        x = before[:, :-1] + label + given  # (N, T, units)
        turn = self.turn(x.dtype)
        for index, block in enumerate(self.blocks):
            # Places in the sequence of one seed that no other block and no other step has.
            key = (
                None
                if dropout_key is None
                else dropout_key + tf.constant([index << 32, 0], tf.int64)
            )
            if self._recompute:
                x = recomputed(block, x, turn=turn, dropout_key=key)
            else:
                x = block(x, turn=turn, dropout_key=key)
        u = tf.reshape(normalised(x), [-1, rows, columns, units])
        return self.logits(self.group_head(u, codes) if self.groups > 1 else u)

    def places(self, row: Layer, column: Layer):
        """What a position is told of where it is, `[h, w, units]`."""
        rows, columns = self.code_shape[:2]
        return row(tf.range(rows))[:, None] + column(tf.range(columns))

    def turn(self, dtype) -> Turn:
        """Of the positions, row by row."""
        rows, columns = self.code_shape[:2]
        wide = tf.as_dtype(dtype if dtype == "float64" else "float32")
        turn = turns(rows, columns, self.config.hidden_units // self.config.heads, wide)
        return Turn(*(tf.cast(each, dtype) for each in turn))

    def log_prob(self, codes, labels, dropout_key=None, context=None):
        logits = self(codes, labels, dropout_key=dropout_key, context=context)
        return log_prob(logits, codes, self.code_shape)

    def start(self, labels, context=None) -> TransformerSteps:
        return TransformerSteps(self, labels, context)
