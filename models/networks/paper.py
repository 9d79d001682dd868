"""Encoder and decoder of the VQ-VAE (van den Oord et al. 2017, section 4.1)."""

from __future__ import annotations

import math

import keras

from models.config import EncoderConfig
from models.networks.label_embedding import LabelEmbedding
from models.precision import state_dtype
from models.recompute import recomputed


class ResidualBlock(keras.layers.Layer):
    """ReLU, 3×3 convolution, ReLU, 1×1 convolution, added to the input.

    Args:
        units: channels of the input and the output.
        hidden_units: channels between the two convolutions.

    Input and output shape:
        `[N, h, w, units]`.
    """

    def __init__(self, units: int, hidden_units: int, **kwargs):
        super().__init__(**kwargs)
        self.conv3 = keras.layers.Conv2D(
            hidden_units, 3, padding="same", kernel_initializer="he_normal"
        )
        # Dense is the 1×1 convolution. TensorFlow's graph optimizer fails to fuse a Conv2D with
        # an addition whose sum is used twice, and then leaves the whole graph as it is.
        self.conv1 = keras.layers.Dense(units, kernel_initializer="he_normal")

    def call(self, x):
        h = self.conv3(keras.ops.relu(x))
        return x + self.conv1(keras.ops.relu(h))


class Encoder(keras.layers.Layer):
    """Strided 4×4 convolutions, residual blocks, and a 1×1 convolution to the codebook's space.

    Args:
        config: sizes.
        embedding_dim: D, channels of the output.
        recompute: keep only the inputs of the residual blocks for the gradient.

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
        units = config.hidden_units
        widths = [config.first_units or units // 2] + [units] * (len(config.strides) - 1)
        self.strided = [
            keras.layers.Conv2D(
                width, _kernel(strides), strides=strides, padding="same", activation="relu"
            )
            for width, strides in zip(widths, config.strides, strict=True)
        ]
        self.conv3 = keras.layers.Conv2D(units, 3, padding="same")
        self.residual = [
            ResidualBlock(units, config.residual_units) for _ in range(config.residual_blocks)
        ]
        # 16 bits would move encodings across the borders between codes.
        self.project = keras.layers.Conv2D(embedding_dim, 1, dtype=state_dtype())

    def call(self, x):
        for layer in self.strided:  # (N, H, W, C) -> (N, h, w, units)
            x = layer(x)
        x = self.conv3(x)
        for block in self.residual:
            x = recomputed(block, x) if self._recompute else block(x)
        return self.project(keras.ops.relu(x))  # (N, h, w, D)


class Decoder(keras.layers.Layer):
    """The encoder mirrored: residual blocks, then transposed 4×4 convolutions.

    Args:
        config: sizes, as of the encoder that it mirrors.
        outputs: channels of the output, what the likelihood's parameters need per pixel.
        recompute: keep only the inputs of the residual blocks for the gradient.
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
        units = config.hidden_units
        *strides, last = config.strides[::-1]
        self.conv3 = keras.layers.Conv2D(units, 3, padding="same")
        self.residual = [
            ResidualBlock(units, config.residual_units) for _ in range(config.residual_blocks)
        ]
        self.strided = [
            keras.layers.Conv2DTranspose(
                units, _kernel(each), strides=each, padding="same", activation="relu"
            )
            for each in strides
        ]
        # 16 bits are half a grey level.
        self.image = keras.layers.Conv2DTranspose(
            outputs, _kernel(last), strides=last, padding="same", dtype=state_dtype()
        )

        self.label = LabelEmbedding(num_classes, units) if num_classes else None

    def call(self, x, labels=None):
        x = self.conv3(x)
        if self.label is not None:
            x += self.label(labels)
        for block in self.residual:
            x = recomputed(block, x) if self._recompute else block(x)
        x = keras.ops.relu(x)
        for layer in self.strided:
            x = layer(x)
        return self.image(x)


def largest_activation(config: EncoderConfig, height: int, width: int) -> int:
    """Numbers in the largest tensor of either, for an image of `height` × `width` pixels."""
    units = max(config.hidden_units, config.first_units or 0)
    return math.ceil(height * width * units / math.prod(config.strides[0]))


def reach(config: EncoderConfig) -> tuple[int, int]:
    """Rows and columns of codes on each side that decide a code, or the pixels of a code.

    A convolution of 3 positions at the resolution of the codes sees one more on each side: there
    is one in every residual block, one besides, and one for each halving of the other axis alone.
    All halvings of an axis together see less than one more code, 2^n - 1 pixels of 2^n.
    """
    rows, columns = (
        config.residual_blocks + 1 + axis.count(1) + (2 in axis)
        for axis in zip(*config.strides, strict=True)
    )
    return rows, columns


def _kernel(strides: tuple[int, int]) -> tuple[int, int]:
    """4 pixels on an axis that halves; on one that stays 3, which have a centre."""
    rows, columns = strides
    return 2 + rows, 2 + columns
