"""Encoder and decoder for photographs: the residual network of VQGAN (Esser et al. 2021).

It is that of Ho et al. 2020 (DDPM) without time steps and dropout.
"""

from __future__ import annotations

import itertools
import math

import keras
import tensorflow as tf

from models.config import EncoderConfig
from models.networks.group_norm import GroupNorm
from models.networks.label_embedding import LabelEmbedding
from models.precision import state_dtype
from models.recompute import recomputed


class ResidualBlock(keras.layers.Layer):
    """Twice group normalization, swish and a 3×3 convolution, added to the input.

    Where the number of channels changes, the input passes a 1×1 convolution first.

    Args:
        units: channels of the output.

    Input and output shape:
        `[N, h, w, channels]`, `[N, h, w, units]`.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self._units = units
        self.norm1, self.norm2 = GroupNorm(), GroupNorm()
        self.conv1 = keras.layers.Conv2D(units, 3, padding="same")
        self.conv2 = keras.layers.Conv2D(units, 3, padding="same")

    def build(self, input_shape):
        # Keras would trace `call` to find out the same, which takes seconds for all blocks.
        *places, channels = input_shape
        between = (*places, self._units)
        self.norm1.build(input_shape)
        self.conv1.build(input_shape)
        self.norm2.build(between)
        self.conv2.build(between)
        self.shortcut = None
        if channels != self._units:
            # Dense is the 1×1 convolution, see `models.networks.paper.ResidualBlock`.
            self.shortcut = keras.layers.Dense(self._units)
            self.shortcut.build(input_shape)

    def call(self, x):
        h = self.conv1(self.norm1(x))
        h = self.conv2(self.norm2(h))
        return (x if self.shortcut is None else self.shortcut(x)) + h


class Attention(keras.layers.Layer):
    """Every position attends to all of its image, added to the input (one head).

        x + W_o softmax(q kᵀ / √channels) v,  q, k, v = W_q n, W_k n, W_v n,  n = GroupNorm(x)

    The softmax is float32 whatever the policy of the layers.

    Args:
        units: channels.

    Input and output shape:
        `[N, h, w, units]`.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self._units = units
        self.norm = GroupNorm(swish=False)
        self.query, self.key, self.value, self.output_projection = (
            keras.layers.Dense(units) for _ in range(4)
        )

    def build(self, input_shape):
        for layer in (self.norm, self.query, self.key, self.value, self.output_projection):
            layer.build(input_shape)

    def call(self, x):
        rows, columns = x.shape[1:3]
        flat = tf.reshape(self.norm(x), [-1, rows * columns, self._units])  # (N, h·w, units)
        # Divided in front of the product, which float16 might not hold.
        query = self.query(flat) / math.sqrt(self._units)
        logits = tf.matmul(query, self.key(flat), transpose_b=True)  # (N, h·w, h·w)
        weights = tf.cast(tf.nn.softmax(tf.cast(logits, state_dtype())), self.compute_dtype)
        h = self.output_projection(tf.matmul(weights, self.value(flat)))
        return x + tf.reshape(h, tf.shape(x))


class Upsampling(keras.layers.Layer):
    """Each position is repeated along the axes that double, then a 3×3 convolution.

    A transposed convolution reaches neighbouring pixels with different numbers of weights, which
    shows as a checkerboard (Odena et al. 2016).

    Args:
        units: channels.
        strides: 2 or 1, of rows and columns.

    Input and output shape:
        `[N, h, w, units]`, `[N, h · rows, w · columns, units]`.
    """

    def __init__(self, units: int, strides: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self._strides = strides
        self.conv = keras.layers.Conv2D(units, 3, padding="same")

    def build(self, input_shape):
        self.conv.build(input_shape)

    def call(self, x):
        (rows, columns), (height, width, units) = self._strides, x.shape[1:]
        x = tf.reshape(x, [-1, 1, width, 1, units])  # (N·h, 1, w, 1, units)
        x = tf.broadcast_to(x, [tf.shape(x)[0], rows, width, columns, units])
        return self.conv(tf.reshape(x, [-1, height * rows, width * columns, units]))


class Encoder(keras.layers.Layer):
    """Residual blocks at every resolution, each halved by a strided 3×3 convolution.

    Args:
        config: sizes.
        embedding_dim: D, channels of the output.
        recompute: keep only the inputs of the blocks for the gradient.

    Input shape:
        `[N, H, W, C]`, floating point around zero.

    Output shape:
        `[N, H / rows, W / columns, D]` with the factors of downsampling, the z_e(x) of the paper.
    """

    def __init__(
        self, config: EncoderConfig, embedding_dim: int, recompute: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        self._recompute = recompute
        units = _units(config)
        self.conv3 = keras.layers.Conv2D(units[0], 3, padding="same")
        self.levels = [_level(config, level) for level in range(len(units))]
        self.halvings = [
            keras.layers.Conv2D(channels, 3, strides=strides, padding="same")
            for channels, strides in zip(units[:-1], config.strides, strict=True)
        ]
        self.middle = _middle(config)
        self.norm = GroupNorm()
        # 16 bits would move encodings across the borders between codes.
        self.project = keras.layers.Conv2D(embedding_dim, 3, padding="same", dtype=state_dtype())

    def call(self, x):
        x = self.conv3(x)
        for blocks, halving in itertools.zip_longest(self.levels, self.halvings):
            x = _through(blocks, x, self._recompute)
            x = halving(x) if halving else x
        x = _through(self.middle, x, self._recompute)  # (N, h, w, units of the last)
        return self.project(self.norm(x))  # (N, h, w, D)


class Decoder(keras.layers.Layer):
    """The encoder mirrored, each resolution doubled by repetition and a 3×3 convolution.

    Args:
        config: sizes, as of the encoder that it mirrors.
        outputs: channels of the output, what the likelihood's parameters need per pixel.
        recompute: keep only the inputs of the blocks for the gradient.
        num_classes: labels that it is told; 0 for none.

    Call arguments:
        x: `[N, h, w, D]`, embeddings of codes.
        labels: int32 `[N]`, if it is told them; see `LabelEmbedding`.

    Output shape:
        `[N, h · rows, w · columns, outputs]`.
    """

    def __init__(
        self,
        config: EncoderConfig,
        outputs: int,
        recompute: bool = False,
        num_classes: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._recompute = recompute
        units = _units(config)
        self.conv3 = keras.layers.Conv2D(units[-1], 3, padding="same")
        self.middle = _middle(config)
        self.levels = [_level(config, level) for level in reversed(range(len(units)))]
        self.doublings = [
            Upsampling(channels, strides)
            for channels, strides in zip(units[:0:-1], config.strides[::-1], strict=True)
        ]
        self.norm = GroupNorm()
        # 16 bits are half a grey level.
        self.image = keras.layers.Conv2D(outputs, 3, padding="same", dtype=state_dtype())

        self.label = LabelEmbedding(num_classes, units[-1]) if num_classes else None

    def call(self, x, labels=None):
        x = self.conv3(x)
        if self.label is not None:
            x += self.label(labels)
        x = _through(self.middle, x, self._recompute)
        for blocks, doubling in itertools.zip_longest(self.levels, self.doublings):
            x = _through(blocks, x, self._recompute)
            x = doubling(x) if doubling else x
        return self.image(self.norm(x))


def largest_activation(config: EncoderConfig, height: int, width: int) -> int:
    """Numbers in the largest tensor of either, for an image of `height` × `width` pixels."""
    units = _units(config)
    positions, sizes = height * width, []
    for level, channels in enumerate(units):
        sizes.append(positions * max(channels, units[min(level + 1, len(units) - 1)]))
        if 2**level in config.attention_at:
            sizes.append(positions**2)
        if level < len(config.strides):
            positions //= math.prod(config.strides[level])
    return max(sizes)


def reach(config: EncoderConfig) -> None:
    """None: group normalization, and attention, see all of an image."""


def _units(config: EncoderConfig) -> list[int]:
    """Channels at each resolution, that of the images first."""
    default = [min(2 ** (level // 2), 4) for level in range(len(config.strides) + 1)]
    return [config.hidden_units * each for each in config.channel_multipliers or default]


def _level(config: EncoderConfig, level: int) -> list[keras.layers.Layer]:
    """Blocks of a resolution; 0 is that of the images."""
    units = _units(config)[level]
    blocks: list[keras.layers.Layer] = []
    for _ in range(config.residual_blocks):
        blocks.append(ResidualBlock(units))
        if 2**level in config.attention_at:
            blocks.append(Attention(units))
    return blocks


def _middle(config: EncoderConfig) -> list[keras.layers.Layer]:
    """Blocks between the encoder's and the decoder's, at the resolution of the codes."""
    units = _units(config)[-1]
    attends = 2 ** len(config.strides) in config.attention_at
    attention = [Attention(units)] if attends else []
    return [ResidualBlock(units), *attention, ResidualBlock(units)]


def _through(blocks: list[keras.layers.Layer], x, recompute: bool):
    for block in blocks:
        x = recomputed(block, x) if recompute else block(x)
    return x
