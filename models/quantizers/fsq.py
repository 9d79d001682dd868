"""Finite scalar quantization: rounding instead of a codebook."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from models.config import QuantizerConfig
from models.part import WHOLE, Part
from models.precision import state_dtype
from models.quantizers.interface import (
    Quantized,
    join_groups,
    join_lookup,
    split_groups,
)
from models.quantizers.sums import count_codes
from models.updates import Updates


class FiniteScalarQuantizer(keras.layers.Layer):
    """Each channel is bounded and rounded to one of a few levels (Mentzer et al. 2023).

        ẑ_i = round(f_i(z_i)) / ⌊L_i / 2⌋,   f_i(z) = (L_i - 1) / 2 · tanh(z + s_i) - o_i

    (arXiv 2309.15505, section 3.) o_i = 1/2 for an even number of levels, so that rounding gives
    as many, and s_i moves f_i(0) back to 0. The rounding passes the gradient straight through,
    tanh bounds it. The code is the number whose digits in mixed radix are the levels, the first
    channel's digit the lowest. There is nothing to learn and no loss.

    z_i is taken from the mean, and in units of the standard deviation, that channel i has before
    the first step (`initialize`). An untrained encoder's channels may spread over far less than a
    level; every position would then round to the middle one, whose vector is 0, and a decoder
    that begins with a ReLU passes no gradient back from there.

    Args:
        config: `levels` and `groups`; `num_codes` is the product of the levels.

    Call arguments:
        z: float `[..., D]`, D = g · number of levels.
        training: counts the codes.

    Raises:
        ValueError: if the last dimension of `z` is not D.
    """

    # As in the paper's own code: tanh ends this share of its range short of the outermost levels.
    MARGIN = 1e-3

    codebooks = 1

    def __init__(self, config: QuantizerConfig, **kwargs):
        super().__init__(dtype=state_dtype(), **kwargs)
        self.config = config
        self.groups = config.groups
        self.num_codes = math.prod(config.levels)
        levels = np.array(config.levels)
        self._levels = levels.astype("int32")
        self._place_values = np.cumprod([1, *levels[:-1]]).astype("int32")
        self._half_width = (levels // 2).astype(self.dtype)
        self._reach = ((levels - 1) * (1.0 - self.MARGIN) / 2.0).astype(self.dtype)
        self._offset = np.where(levels % 2, 0.0, 0.5).astype(self.dtype)
        self._shift = np.arctanh(self._offset / self._reach)
        self.centre = self._per_channel("centre", "zeros")
        self.scale = self._per_channel("scale", "ones")

    def call(self, z, training: bool = False, part: Part = WHOLE) -> Quantized:
        z = tf.convert_to_tensor(z)
        flat = split_groups(z, self.config.embedding_dim, self.groups)  # (P, d)
        flat = (flat - self.centre) / self.scale
        bounded = tf.tanh(flat + self._shift) * self._reach - self._offset
        rounded = bounded + tf.stop_gradient(tf.round(bounded) - bounded)
        digits = tf.cast(tf.round(bounded) + self._half_width, tf.int32)
        codes = tf.reduce_sum(digits * self._place_values, axis=1)
        statistics = {"counts": count_codes(codes, self.num_codes, self.dtype)} if training else {}
        quantized, codes = join_groups(rounded / self._half_width, codes, z, self.groups)
        return Quantized(quantized, codes, {}, statistics)

    def updates(self, statistics: dict[str, tf.Tensor]) -> Updates:
        """Nothing: there is no codebook."""
        return []

    def initialize(self, z) -> None:
        """Takes the centre and the scale of each channel of a code from encodings.

        Called once, outside the replicas, before the first step. A channel without any spread
        keeps scale 1.

        Args:
            z: float `[..., D]`, encodings of real images.
        """
        z = tf.convert_to_tensor(z)
        flat = split_groups(z, self.config.embedding_dim, self.groups)  # (P, d)
        mean, variance = tf.nn.moments(flat, axes=[0])
        self.centre.assign(mean)
        self.scale.assign(tf.where(variance > 0.0, tf.sqrt(variance), 1.0))

    def lookup(self, codes):
        """Vectors of codes. int `[...]`, or `[..., g]` with g > 1 -> float32 `[..., D]`."""
        codes = tf.cast(codes, tf.int32)
        digits = codes[..., None] // self._place_values % self._levels
        rows = (tf.cast(digits, self.dtype) - self._half_width) / self._half_width
        return join_lookup(rows, codes, self.config.embedding_dim, self.groups)

    def codebook(self):
        """The vector of each code, float32 `[K, D / g]`."""
        digits = tf.range(self.num_codes)[:, None] // self._place_values % self._levels
        return (tf.cast(digits, self.dtype) - self._half_width) / self._half_width

    def _per_channel(self, name: str, initializer: str):
        return self.add_weight(
            name=name,
            shape=(len(self.config.levels),),
            initializer=initializer,
            trainable=False,
            aggregation="only_first_replica",
            autocast=False,
        )
