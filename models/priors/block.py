"""One block of a transformer over codes: all positions, or one that looks back at the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from models.priors.dropout import drop
from models.priors.product import product

# Of the slowest to the fastest turn; Heo et al. 2024 (arXiv 2403.13298) take it for images.
_BASE = 100.0
_HIDDEN = -1e9  # score of what may not be looked at, in float32


class BlockWeights(NamedTuple):
    """What a block computes with; of all blocks, one more dimension in front."""

    projection: tf.Tensor  # W_qkv, (units, 3·units)
    query_scale: tf.Tensor  # s, (d)
    output: tf.Tensor  # W_o, (units, units)
    hidden: tf.Tensor  # W_1 and W_2, (units, 2·inner)
    mlp_output: tf.Tensor  # W_3, (inner, units)


class Turn(NamedTuple):
    """Cosines and sines by which queries and keys are turned, `[..., d]`."""

    cosines: tf.Tensor
    sines: tf.Tensor


class Block(keras.layers.Layer):
    """Attention to all positions up to this one, then a gated layer for each.

        x' = x + W_o attention(q, k, v),  [q, k, v] = W_qkv n(x)
        y = x' + W_3 (silu(a) ⊙ b),       [a, b] = [W_1, W_2] n(x')

    n(x) = x / √(mean(x²) + ε) is RMSNorm (Zhang & Sennrich 2019); its scale would be that of the
    weights behind it. In each head the query is n(q) ⊙ s and the key n(k), which bounds the
    scores (QK-norm, Henry et al. 2020), and both are turned by where they are (`turns`). SwiGLU
    is that of Shazeer 2020. `project`, `attention` and `mlp` are all that a block computes; a
    sampler applies them to one position at a time.

    Args:
        units: channels.
        heads: H; each has d = units / H channels.
        dropout: share of channels dropped in training, of what each of the two parts adds.
        blocks: of the network; what a block adds begins the smaller, the more there are.

    Call arguments:
        x: `[N, T, units]`.
        turn: of the T positions.
        dropout_key: int64 `[2]`; which channels are dropped is a function of it. None drops none.
    """

    def __init__(self, units: int, heads: int, dropout: float, blocks: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.dropout = dropout
        inner = inner_units(units)
        added = 1.0 / math.sqrt(2.0 * blocks)
        self._projection = self._kernel("projection", units, 3 * units)
        self._query_scale = self.add_weight(
            shape=(units // heads,), initializer="ones", name="query_scale"
        )
        self._output = self._kernel("output", units, units, gain=added)
        self._hidden = self._kernel("hidden", units, 2 * inner)
        self._mlp_output = self._kernel("mlp_output", inner, units, gain=added)

    def call(self, x, turn, dropout_key=None):
        weights = self.weights_now()
        return whole(weights, x, self.heads, Turn(*turn), (), self.dropout, dropout_key)[0]

    def weights_now(self) -> BlockWeights:
        """As tensors."""
        weights = (
            self._projection,
            self._query_scale,
            self._output,
            self._hidden,
            self._mlp_output,
        )
        return BlockWeights(*map(tf.convert_to_tensor, weights))

    def _kernel(self, name: str, fan_in: int, fan_out: int, gain: float = 1.0):
        initializer = keras.initializers.VarianceScaling(gain**2, "fan_avg", "uniform")
        return self.add_weight(shape=(fan_in, fan_out), initializer=initializer, name=name)


def inner_units(units: int) -> int:
    """Channels inside of the gated layer: as many weights as an ungated one of 4·units has."""
    return 8 * math.ceil(units / 3)


def whole(
    weights: BlockWeights,
    x,
    heads: int,
    turn: Turn,
    before: Sequence[tf.Tensor] = (),
    dropout: float = 0.0,
    key=None,
):
    """A block over T positions in a row.

    Args:
        weights, x, heads, turn: of the block.
        before: keys and values of the positions before these, as they were returned.
        dropout, key: of `Block`.

    Returns:
        y `[N, T, units]`, and the keys and values, `[2, N, H, T, d]`.
    """
    keys = None if key is None else (key, key + tf.constant([1 << 31, 0], tf.int64))
    query, key_, value = project(weights, x, heads, Turn(*(each[:, None, None] for each in turn)))
    query = tf.transpose(query, [0, 2, 1, 3])  # (N, H, T, d)
    stacked = tf.transpose(tf.stack([key_, value]), [0, 1, 3, 2, 4])  # (2, N, H, T, d)
    places = tf.range(tf.shape(x)[1])
    visible = places[None] <= places[:, None]  # (T, T)
    mixed = attention(query, [*before, stacked], visible)
    mixed = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), tf.shape(x))
    added = product(mixed, weights.output)
    x += added if keys is None or not dropout else drop(added, dropout, keys[0])
    added = mlp(weights, x)
    return x + (added if keys is None or not dropout else drop(added, dropout, keys[1])), stacked


def project(weights: BlockWeights, x, heads: int, turn: Turn):
    """Queries, keys and values of positions: `[..., units]` -> three of `[..., H, d]`.

    Args:
        weights, x, heads: of a block.
        turn: of the positions, to be broadcast to `[..., 1, 1, d]`.
    """
    units, before = x.shape[-1], tf.shape(x)[:-1]
    shape = [heads, units // heads]
    both, value = tf.split(product(normalised(x), weights.projection), [2 * units, units], -1)
    # Queries and keys at once: fewer operations.
    both = normalised(tf.reshape(both, tf.concat([before, [2, *shape]], 0)))
    ones = tf.ones_like(weights.query_scale)
    both *= tf.stack([weights.query_scale, ones])[:, None]
    first, second = tf.split(both, 2, axis=-1)
    turned = both * turn.cosines + tf.concat([second, first], -1) * turn.sines
    query, key = tf.unstack(turned, num=2, axis=-3)
    return query, key, tf.reshape(value, tf.concat([before, shape], 0))


def attention(query, parts, visible):
    """softmax(q kᵀ / √d) v over what may be looked at.

    Args:
        query: `[N, H, Q, d]`.
        parts: keys and values in pieces, each `[2, N, H, T_i, d]`, as they are kept.
        visible: bool `[Q, T]` or `[T]`, of the last of the pieces; all of the others is.

    Returns:
        `[N, H, Q, d]`.
    """
    scores = [tf.cast(tf.matmul(query, part[0], transpose_b=True), _wide(query)) for part in parts]
    scores[-1] = tf.where(visible, scores[-1], tf.constant(_HIDDEN, scores[-1].dtype))
    scale = 1.0 / math.sqrt(query.shape[-1])
    together = scores[0] if len(parts) == 1 else tf.concat(scores, -1)
    weights = tf.cast(tf.nn.softmax(together * scale), query.dtype)
    if len(parts) == 1:
        return tf.matmul(weights, parts[0][1])
    mixed, start = [], 0
    for part in parts:
        length = tf.shape(part)[3]
        mixed.append(tf.matmul(weights[..., start : start + length], part[1]))
        start += length
    return tf.add_n(mixed)


def mlp(weights: BlockWeights, x):
    """What the gated layer adds: `[..., units]` -> `[..., units]`."""
    a, b = tf.split(product(normalised(x), weights.hidden), 2, axis=-1)
    return product(a * tf.sigmoid(a) * b, weights.mlp_output)


def normalised(x):
    """x / √(mean(x²) + ε) of the last dimension, computed in float32 at least."""
    wide = tf.cast(x, _wide(x))
    wide *= tf.math.rsqrt(tf.reduce_mean(tf.square(wide), -1, keepdims=True) + 1e-6)
    return tf.cast(wide, x.dtype)


def turns(rows: int, columns: int, channels: int, dtype) -> Turn:
    """Rotary positions (Su et al. 2021) on two axes: `[rows · columns, channels]` each.

    Channels i and i + d/2 are a pair, turned by an angle: that of its row for the first half of
    the pairs, of its column for the others. The product of a query and a key then depends on how
    far apart they are, and in which direction.
    """
    if channels % 4:
        raise ValueError(f"channels of a head must be a multiple of 4. Received: {channels}")
    quarter = channels // 4
    speeds = _BASE ** (-tf.range(quarter, dtype=dtype) / quarter)
    row = tf.repeat(tf.range(rows), columns)
    column = tf.tile(tf.range(columns), [rows])
    angles = [tf.cast(each, dtype)[:, None] * speeds for each in (row, column)]
    angle = tf.concat(angles, -1)  # (T, d / 2)
    cosines, sines = tf.cos(angle), tf.sin(angle)
    return Turn(tf.concat([cosines, cosines], -1), tf.concat([-sines, sines], -1))


def _wide(x):
    return tf.float32 if x.dtype.size < 4 else x.dtype
