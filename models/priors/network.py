"""What the networks of all priors have in common."""

from __future__ import annotations

import abc
import math

import keras
import tensorflow as tf

from models.config import PriorConfig
from models.priors.group_head import Layer
from models.seeded import seeded


class PriorNetwork(keras.Model):
    """p(codes | label), one code after the other: a `models.priors.prior.Prior`.

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
        with seeded(seed):
            self._make_layers()
            context = None
            if context_channels:
                # Without a bias, as each place has one.
                self.context = keras.layers.Dense(config.hidden_units, use_bias=False)
                context = tf.zeros([1, *code_shape[:2], context_channels])
            self(tf.zeros([1, *code_shape], tf.int32), tf.constant([-1]), context=context)

    @abc.abstractmethod
    def _make_layers(self) -> None:
        """All but that of the context."""

    def embed(self, codes, table: Layer):
        """What the network sees of positions: the sum of their codes' embeddings.

        Each group has a table of its own: what a code says depends on the part of the vector that
        it codes.

        Args:
            codes: int `[...]`, or `[..., g]` if they are several.
            table: lookup of rows of the tables, one below the other.

        Returns:
            `[..., units]`.
        """
        if self.groups == 1:
            return table(codes)
        first = self.num_codes * tf.range(self.groups, dtype=codes.dtype)  # row of each table
        return tf.reduce_sum(table(codes + first), -2)

    def places(self, row: Layer, column: Layer):
        """What it is told of where positions are, `[h, w, units]`; the two axes add up."""
        rows, columns = self.code_shape[:2]
        return row(tf.range(rows))[:, None] + column(tf.range(columns))

    def given(self, context):
        """What it is told of positions besides their codes and labels, `[(N), h, w, units]`."""
        places = self.places(self.row, self.column)
        return places if context is None else places + self.context(context)

    def given_by_rows(self, context, row: Layer, column: Layer):
        """The same with weights that were read before, rows first: `[h, N or 1, w, units]`."""
        places = self.places(row, column)[:, None]
        if context is None:
            return places
        known = tf.tensordot(context, tf.convert_to_tensor(self.context.kernel), 1)
        return places + tf.transpose(known, [1, 0, 2, 3])

    def log_prob(self, codes, labels, dropout_key=None, context=None):
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=codes, logits=self(codes, labels, dropout_key=dropout_key, context=context)
        )  # (N, *code_shape)
        return -tf.reduce_sum(tf.reshape(nats, [-1, math.prod(self.code_shape)]), axis=1)


def key_of_layer(dropout_key, index: int):
    """Places in the sequence of one seed that no other layer and no other step has.

    int64 `[2]`, None for no dropout.
    """
    return None if dropout_key is None else dropout_key + tf.constant([index << 32, 0], tf.int64)
