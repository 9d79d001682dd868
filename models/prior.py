"""The autoregressive prior over codes: a Gated PixelCNN (van den Oord et al. 2016)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from models import gated, sampler
from models.config import PriorConfig
from models.gated import GatedLayer
from models.precision import state_dtype
from models.recompute import recomputed
from models.seeded import seeded

# A Keras layer, or what it computes with weights that were read before.
Layer = Callable[[tf.Tensor], tf.Tensor]


class GroupHead(keras.layers.Layer):
    """Tells the codes of one position apart, each given the codes before it at that position.

        a_k = u + b_k + Σ_{m<k} E_m[c_m],   u_k = a_k + W_2 relu(W_1 relu(a_k))

    Args:
        units: channels of the input and the output.
        num_codes: K.
        groups: g, codes per position; at least 2.

    Call arguments:
        u: `[N, h, w, units]`, the head's output, what is known from the positions before.
        codes: int32 `[N, h, w, g]`.

    Output shape:
        `[N, h, w, g, units]`; at k it depends on the codes below k.
    """

    def __init__(self, units: int, num_codes: int, groups: int, **kwargs):
        super().__init__(**kwargs)
        self.num_codes = num_codes
        self.groups = groups
        self.which = keras.layers.Embedding(groups, units)
        self.earlier = keras.layers.Embedding((groups - 1) * num_codes, units)
        self.dense1 = keras.layers.Dense(units)
        self.dense2 = keras.layers.Dense(units)

    def call(self, u, codes):
        rows = codes[..., :-1] + self.num_codes * tf.range(self.groups - 1)
        # At k the sum of all below it: the first has nothing, the last code reaches nobody.
        earlier = tf.cumsum(self.earlier(rows), axis=-2)  # (N, h, w, g - 1, units)
        earlier = tf.pad(earlier, [[0, 0], [0, 0], [0, 0], [1, 0], [0, 0]])
        a = u[..., None, :] + self.which(tf.range(self.groups)) + earlier
        return refine(a, self.dense1, self.dense2)


def refine(a, dense1: Layer, dense2: Layer):
    """u_k of `GroupHead` from a_k, `[..., units]`."""
    return a + dense2(tf.nn.relu(dense1(_relu(a))))


def decide(h, dense: Layer):
    """What decides the codes of a position, from the last layer: `[..., units]`."""
    return tf.nn.relu(dense(_relu(h)))


def _relu(x):
    # Not tf.nn.relu: in the sampler Grappler fuses it with what precedes it into an invalid node
    # and then leaves the whole graph as it is.
    return tf.maximum(x, tf.zeros([], x.dtype))


class GatedPixelCNN(keras.Model):
    """p(codes | label), one code after the other: row by row, and group by group in a position.

    Args:
        config: sizes.
        num_codes: K.
        num_classes: labels are 0 … num_classes - 1; 0 classes makes an unconditional model.
        code_shape: `(h, w)`, rows and columns of the codes, or `(h, w, g)` with g per position.
        seed: seed of the weights.
        recompute: spend time for memory in training (`models.recompute`).

    Call arguments:
        codes: int32 `[N, *code_shape]`.
        labels: int32 `[N]`, -1 for unconditional.
        dropout_key: int64 `[2]` in training, another one for every part of every batch; None
            drops nothing.

    Returns:
        logits, float32 `[N, *code_shape, K]`: of each code given all before it.
    """

    def __init__(
        self,
        config: PriorConfig,
        num_codes: int,
        num_classes: int,
        code_shape: tuple[int, ...],
        seed: int = 0,
        recompute: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._recompute = recompute
        self.config = config
        self.num_codes = num_codes
        self.num_classes = num_classes
        self.code_shape = code_shape
        self.groups = code_shape[2] if len(code_shape) == 3 else 1
        with seeded(seed):
            # A table per group: what a code says depends on the part of the vector that it codes.
            self.embedding = keras.layers.Embedding(self.groups * num_codes, config.hidden_units)
            # Where a code is matters for images that are centred; the two axes add up.
            self.row = keras.layers.Embedding(code_shape[0], config.hidden_units)
            self.column = keras.layers.Embedding(code_shape[1], config.hidden_units)
            self.gated = [
                GatedLayer(
                    *(config.hidden_units, config.kernel_size, num_classes + 1, config.dropout),
                    last=index == config.layers - 1,
                )
                for index in range(config.layers)
            ]
            self.head = keras.layers.Dense(config.head_units)
            if self.groups > 1:
                self.group_head = GroupHead(config.head_units, num_codes, self.groups)
            self.logits = keras.layers.Dense(num_codes, dtype=state_dtype())
            self(tf.zeros([1, *code_shape], tf.int32), tf.constant([-1]))

    def call(self, codes, labels, dropout_key=None):
        x = self.embed(codes, self.embedding)  # (N, h, w, units)
        places = self.places(self.row, self.column)
        # Shifted by one row for the vertical stack, by one column for the horizontal one:
        # from here on each position may use all that is left of it in its stack.
        vertical = tf.pad(x, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1] + places
        horizontal = tf.pad(x, [[0, 0], [0, 0], [1, 0], [0, 0]])[:, :, :-1] + places
        label_rows = labels + 1  # row 0 of the label embeddings is "no label"
        for index, layer in enumerate(self.gated):
            # Places in the sequence of one seed that no other layer and no other step has.
            key = (
                None
                if dropout_key is None
                else dropout_key + tf.constant([index << 32, 0], tf.int64)
            )
            given = {"labels": label_rows, "dropout_key": key}
            if self._recompute:
                vertical, horizontal = recomputed(layer, vertical, horizontal, **given)
            else:
                vertical, horizontal = layer(vertical, horizontal, **given)
        u = decide(horizontal, self.head)  # (N, h, w, head units)
        return self.logits(self.group_head(u, codes) if self.groups > 1 else u)

    def embed(self, codes, table: Layer):
        """What the stacks see of positions. int `[...]`, or `[..., g]` -> `[..., units]`."""
        if self.groups == 1:
            return table(codes)
        first = self.num_codes * tf.range(self.groups, dtype=codes.dtype)  # row of each table
        return tf.reduce_sum(table(codes + first), -2)

    def places(self, row: Layer, column: Layer):
        """What the stacks see of where positions are, `[h, w, units]`."""
        rows, columns = self.code_shape[:2]
        return row(tf.range(rows))[:, None] + column(tf.range(columns))

    def log_prob(self, codes, labels, dropout_key=None):
        """log p(codes | labels) in nats. int32 `[N, *code_shape]`, `[N]` -> float32 `[N]`."""
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=codes, logits=self(codes, labels, dropout_key=dropout_key)
        )  # (N, *code_shape)
        return -tf.reduce_sum(tf.reshape(nats, [-1, math.prod(self.code_shape)]), axis=1)

    def sample(
        self, labels, seed, temperature, top_k=0, top_p=1.0, codes=None, rows_given=0
    ) -> tf.Tensor:
        """Codes drawn from the model, or given rows of codes continued.

        An image depends on the seed, its place in the batch and its label only: not on how many
        others there are.

        Args:
            labels: int32 `[N]`, -1 for unconditional.
            seed: int64 scalar; the same seed gives the same codes.
            temperature: float scalar above 0; below 1 sharpens the distribution.
            top_k: int scalar; draws from the k most likely codes, 0 for all.
            top_p: float scalar in (0, 1]; draws from the most likely codes that together have
                this probability, 1 for all.
            codes: int32 `[N, *code_shape]`, of which the first `rows_given` rows are kept.
            rows_given: int scalar, 0 to h.

        Returns:
            int32 `[N, *code_shape]`.
        """
        if codes is None:
            codes = tf.zeros([tf.shape(labels)[0], *self.code_shape], tf.int32)
        steps = PixelCNNSteps(self, labels)
        return sampler.sample(steps, codes, seed, temperature, top_k, top_p, rows_given)


class _Row(NamedTuple):
    """What the positions of a row share."""

    places: tf.Tensor  # (w, units)
    contributions: tf.Tensor  # (layers, N, w, 2·units), of the vertical stack


class PixelCNNSteps:
    """A Gated PixelCNN a row and a position at a time, without dropout: `models.sampler.Steps`.

    Nothing here is an approximation: as the convolutions reach up and to the left only,

    - the vertical stack of a row follows from the last k // 2 rows that entered each layer. It
      is computed for a row at once, and is most of the arithmetic of a forward pass;
    - the horizontal stack of a position follows from the last k // 2 positions that entered each
      layer, and from what the vertical stack adds to it;
    - several codes of a position share both stacks.

    Always in float32, whatever the policy of the layers.

    Args:
        prior: the network. Its weights are read here.
        labels: int32 `[N]`, -1 for unconditional.
    """

    def __init__(self, prior: GatedPixelCNN, labels):
        self.code_shape = prior.code_shape
        self._prior = prior
        self._count = tf.shape(labels)[0]
        self._units = prior.config.hidden_units
        self._reach = prior.config.kernel_size // 2
        self._table = _read_table(prior.embedding)
        self._places = prior.places(_read_table(prior.row), _read_table(prior.column))
        self._rows = [layer.row_weights(labels + 1) for layer in prior.gated]
        # The layers' weights are stacked: a loop hands on each tensor that it uses separately,
        # at every step, while taking a stack apart copies nothing.
        weights = zip(*(layer.position_weights() for layer in prior.gated), strict=True)
        kernels, *outputs = map(tf.stack, weights)
        # One position has one window: the convolution is a product.
        kernels = tf.reshape(kernels, [len(prior.gated), -1, 2 * self._units])
        self._positions = gated.PositionWeights(kernels, *outputs)
        self._head, self._logits = _read_dense(prior.head), _read_dense(prior.logits)
        if prior.groups > 1:
            head = prior.group_head
            self._which, self._earlier = _read_table(head.which), _read_table(head.earlier)
            self._dense1, self._dense2 = _read_dense(head.dense1), _read_dense(head.dense2)

    def embed(self, codes):
        return self._prior.embed(codes, self._table)

    def start(self) -> list[tf.Tensor]:
        """For each layer the rows that entered it last, `[N, reach, w, units]`: there are none."""
        shape = [self._count, self._reach, self.code_shape[1], self._units]
        return [tf.zeros(shape, self._places.dtype) for _ in self._rows]

    def row(self, row, above, state):
        places = tf.gather(self._places, row)
        x = (above + places)[:, None]  # (N, 1, w, units)
        contributions, entered = [], []
        padding = [[0, 0], [0, 0], [self._reach, self._reach], [0, 0]]
        for weights, last in zip(self._rows, state, strict=True):
            window = tf.concat([last, x], axis=1)  # (N, reach + 1, w, units)
            entered.append(window[:, 1:] if self._reach > 1 else x)
            x, contribution = gated.rows(weights, x, window, padding)
            contributions.append(contribution[:, 0])
        # Of each layer the positions that entered it last, (N, reach·units): there are none.
        in_front = tf.zeros([len(entered), self._count, self._reach * self._units], x.dtype)
        return _Row(places, tf.stack(contributions)), in_front, entered

    def position(self, column, before, shared: _Row, state):
        x = before + tf.gather(shared.places, column)  # (N, units)
        stacked = state, tf.gather(shared.contributions, column, axis=2), *self._positions
        entered = []
        for last, contribution, *own in zip(*map(tf.unstack, stacked), strict=True):
            entered.append(x)
            window = tf.concat([last, x], axis=-1)  # (N, (reach + 1)·units)
            weights = gated.PositionWeights(*own)
            x = gated.residual(weights, x, tf.matmul(window, weights.kernel) + contribution)
        last = tf.stack(entered)
        if self._reach > 1:
            last = tf.concat([state[:, :, self._units :], last], axis=-1)
        return decide(x, self._head), last

    def logits(self, u, group: int):
        if self._prior.groups > 1:
            u = refine(u + self._which(group), self._dense1, self._dense2)
        return self._logits(u)

    def extend(self, u, group: int, codes):
        return u + self._earlier(group * self._prior.num_codes + codes)


def _read_table(layer: keras.layers.Embedding) -> Layer:
    table = tf.convert_to_tensor(layer.embeddings)
    return lambda indices: tf.gather(table, indices)


def _read_dense(layer: keras.layers.Dense) -> Layer:
    kernel, bias = tf.convert_to_tensor(layer.kernel), tf.convert_to_tensor(layer.bias)
    return lambda x: tf.nn.bias_add(tf.matmul(x, kernel), bias)
