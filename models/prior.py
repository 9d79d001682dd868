"""The autoregressive prior over codes: a Gated PixelCNN (van den Oord et al. 2016)."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from models import sampler
from models.config import PriorConfig
from models.precision import state_dtype
from models.seeded import seeded


class GatedLayer(keras.layers.Layer):
    """One layer of the two stacks: rows above (vertical), and the row so far (horizontal).

        v' = tanh(a) ⊙ σ(b),  [a, b] = W_v * v + V_y          all columns, rows up to this one
        h' = h + W_o (tanh(c) ⊙ σ(d)),  [c, d] = W_h * h + W_vh [a, b]

    The label y enters the vertical stack and reaches the horizontal one through W_vh.

    There are no masks: the inputs are shifted once, in front of the first layer, and the
    convolutions reach up and to the left by padding on those sides only. The vertical stack
    sees every column of the rows above, hence no blind spot.

    Args:
        units: channels of both stacks.
        kernel_size: k; kernels are (k // 2 + 1) × k and 1 × (k // 2 + 1).
        labels: number of label embeddings.
        dropout: share of channels dropped in training.

    Call arguments:
        vertical, horizontal: `[N, h, w, units]`.
        labels: int32 `[N]`, rows of the label embeddings.
        dropout_key: int64 `[2]`; which channels are dropped is a function of it. None drops none.
    """

    def __init__(self, units: int, kernel_size: int, labels: int, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.reach = kernel_size // 2
        self.vertical_conv = keras.layers.Conv2D(2 * units, (self.reach + 1, kernel_size))
        self.horizontal_conv = keras.layers.Conv2D(2 * units, (1, self.reach + 1))
        self.vertical_to_horizontal = keras.layers.Dense(2 * units)
        self.output_dense = keras.layers.Dense(units)
        self.label = keras.layers.Embedding(labels, 2 * units)
        self.dropout = dropout

    def call(self, vertical, horizontal, labels, dropout_key=None):
        reach = self.reach
        above = tf.pad(vertical, [[0, 0], [reach, 0], [reach, reach], [0, 0]])
        v = self.vertical_conv(above) + self.label(labels)[:, None, None, :]  # (N, h, w, 2·units)
        left = tf.pad(horizontal, [[0, 0], [0, 0], [reach, 0], [0, 0]])
        h = self.horizontal_conv(left) + self.vertical_to_horizontal(v)
        h = gate(h)
        if dropout_key is not None and self.dropout:
            h = drop(h, self.dropout, dropout_key)
        return gate(v), horizontal + self.output_dense(h)


def gate(x):
    """tanh(a) ⊙ σ(b) of the two halves of the last dimension."""
    a, b = tf.split(x, 2, axis=-1)
    return tf.tanh(a) * tf.sigmoid(b)


def drop(x, rate: float, key):
    """Dropout (Srivastava et al. 2014) that is a function of `key`, int64 `[2]`.

    Keras's keeps a state, which is the same on every replica and gives all of them the same mask.
    """
    # The same generator on every device. (XLA's draws other numbers from the same seed.)
    kept = tf.random.stateless_uniform(tf.shape(x), key, alg="philox") >= rate
    return tf.where(kept, x / (1.0 - rate), tf.zeros_like(x))


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
        return a + self.dense2(tf.nn.relu(self.dense1(tf.nn.relu(a))))


class GatedPixelCNN(keras.Model):
    """p(codes | label), one code after the other: row by row, and group by group in a position.

    Args:
        config: sizes.
        num_codes: K.
        num_classes: labels are 0 … num_classes - 1; 0 classes makes an unconditional model.
        code_shape: `(h, w)`, rows and columns of the codes, or `(h, w, g)` with g per position.
        seed: seed of the weights.

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
        **kwargs,
    ):
        super().__init__(**kwargs)
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
                GatedLayer(config.hidden_units, config.kernel_size, num_classes + 1, config.dropout)
                for _ in range(config.layers)
            ]
            self.head = keras.layers.Dense(config.head_units, activation="relu")
            if self.groups > 1:
                self.group_head = GroupHead(config.head_units, num_codes, self.groups)
            self.logits = keras.layers.Dense(num_codes, dtype=state_dtype())
            self(tf.zeros([1, *code_shape], tf.int32), tf.constant([-1]))

    def call(self, codes, labels, dropout_key=None):
        rows, columns = self.code_shape[:2]
        by_group = tf.reshape(codes, [-1, rows, columns, self.groups])  # (N, h, w, g)
        x = self.embed(by_group)
        place = self.row(tf.range(rows))[:, None] + self.column(tf.range(columns))[None]
        # Shifted by one row for the vertical stack, by one column for the horizontal one:
        # from here on each position may use all that is left of it in its stack.
        vertical = tf.pad(x, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1] + place
        horizontal = tf.pad(x, [[0, 0], [0, 0], [1, 0], [0, 0]])[:, :, :-1] + place
        label_rows = labels + 1  # row 0 of the label embeddings is "no label"
        for index, layer in enumerate(self.gated):
            # Places in the sequence of one seed that no other layer and no other step has.
            key = (
                None
                if dropout_key is None
                else dropout_key + tf.constant([index << 32, 0], tf.int64)
            )
            vertical, horizontal = layer(vertical, horizontal, label_rows, dropout_key=key)
        u = self.head(tf.nn.relu(horizontal))  # (N, h, w, head units)
        return self.logits(self.group_head(u, by_group) if self.groups > 1 else u)

    def embed(self, codes):
        """What the stacks see of a position. int32 `[N, h, w, g]` -> `[N, h, w, units]`."""
        return tf.reduce_sum(self.embedding(codes + self.num_codes * tf.range(self.groups)), -2)

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
        return sampler.sample(self, labels, seed, temperature, top_k, top_p, codes, rows_given)
