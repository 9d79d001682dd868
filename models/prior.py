"""The autoregressive prior over codes: a Gated PixelCNN (van den Oord et al. 2016)."""

from __future__ import annotations

import keras
import tensorflow as tf

from models import sampler
from models.config import PriorConfig


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
    """

    def __init__(self, units: int, kernel_size: int, labels: int, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.reach = kernel_size // 2
        self.vertical_conv = keras.layers.Conv2D(2 * units, (self.reach + 1, kernel_size))
        self.horizontal_conv = keras.layers.Conv2D(2 * units, (1, self.reach + 1))
        self.vertical_to_horizontal = keras.layers.Dense(2 * units)
        self.output_dense = keras.layers.Dense(units)
        self.label = keras.layers.Embedding(labels, 2 * units)
        self.dropout = keras.layers.Dropout(dropout)

    def call(self, vertical, horizontal, labels, training: bool = False):
        reach = self.reach
        above = tf.pad(vertical, [[0, 0], [reach, 0], [reach, reach], [0, 0]])
        v = self.vertical_conv(above) + self.label(labels)[:, None, None, :]  # (N, h, w, 2·units)
        left = tf.pad(horizontal, [[0, 0], [0, 0], [reach, 0], [0, 0]])
        h = self.horizontal_conv(left) + self.vertical_to_horizontal(v)
        h = self.output_dense(self.dropout(gate(h), training=training))
        return gate(v), horizontal + h


def gate(x):
    """tanh(a) ⊙ σ(b) of the two halves of the last dimension."""
    a, b = tf.split(x, 2, axis=-1)
    return tf.tanh(a) * tf.sigmoid(b)


class GatedPixelCNN(keras.Model):
    """p(codes | label), one code after the other, row by row.

    Args:
        config: sizes.
        num_codes: K.
        num_classes: labels are 0 … num_classes - 1; 0 classes makes an unconditional model.
        code_shape: rows and columns of the codes.
        seed: seed of the weights and the dropout.

    Call arguments:
        codes: int32 `[N, h, w]`.
        labels: int32 `[N]`, -1 for unconditional.

    Returns:
        logits, float32 `[N, h, w, K]`: at each position those of its code given all before.
    """

    def __init__(
        self,
        config: PriorConfig,
        num_codes: int,
        num_classes: int,
        code_shape: tuple[int, int],
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        keras.utils.set_random_seed(seed)
        self.config = config
        self.num_codes = num_codes
        self.num_classes = num_classes
        self.code_shape = code_shape
        self.embedding = keras.layers.Embedding(num_codes, config.hidden_units)
        # Where a code is matters for images that are centred; the two axes add up.
        self.row = keras.layers.Embedding(code_shape[0], config.hidden_units)
        self.column = keras.layers.Embedding(code_shape[1], config.hidden_units)
        self.gated = [
            GatedLayer(config.hidden_units, config.kernel_size, num_classes + 1, config.dropout)
            for _ in range(config.layers)
        ]
        self.head = keras.layers.Dense(config.head_units, activation="relu")
        self.logits = keras.layers.Dense(num_codes, dtype="float32")
        self(tf.zeros([1, *code_shape], tf.int32), tf.constant([-1]))

    def call(self, codes, labels, training: bool = False):
        x = self.embedding(codes)  # (N, h, w, units)
        place = (
            self.row(tf.range(self.code_shape[0]))[:, None]
            + self.column(tf.range(self.code_shape[1]))[None]
        )
        # Shifted by one row for the vertical stack, by one column for the horizontal one:
        # from here on each position may use all that is left of it in its stack.
        vertical = tf.pad(x, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1] + place
        horizontal = tf.pad(x, [[0, 0], [0, 0], [1, 0], [0, 0]])[:, :, :-1] + place
        rows = labels + 1  # row 0 of the label embeddings is "no label"
        for layer in self.gated:
            vertical, horizontal = layer(vertical, horizontal, rows, training=training)
        return self.logits(self.head(tf.nn.relu(horizontal)))

    def log_prob(self, codes, labels, training: bool = False):
        """log p(codes | labels) in nats. int32 `[N, h, w]`, int32 `[N]` -> float32 `[N]`."""
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=codes, logits=self(codes, labels, training=training)
        )  # (N, h, w)
        return -tf.reduce_sum(nats, axis=[1, 2])

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
            codes: int32 `[N, h, w]`, of which the first `rows_given` rows are kept.
            rows_given: int scalar, 0 to h.

        Returns:
            int32 `[N, h, w]`.
        """
        return sampler.sample(self, labels, seed, temperature, top_k, top_p, codes, rows_given)
