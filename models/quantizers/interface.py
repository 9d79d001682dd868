"""What every quantizer offers, and how a position's vector is shared among its codes."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import keras
import tensorflow as tf

from models.part import WHOLE, Part
from models.precision import state_dtype
from models.updates import Updates


class Quantized(NamedTuple):
    """What a quantizer returns.

    Attributes:
        quantized: float32 `[..., D]`, the vectors of the codes, with a gradient for the encoder.
        codes: int32 `[...]`, or `[..., g]` with g > 1 codes per position.
        losses: name -> scalar; terms to add to the training loss, already weighted.
        statistics: in training, name -> sums over the encodings that were quantized, without a
            gradient; those of several parts of a batch add up. `counts`, float32 `[K]`, or
            `[B, K]` with B > 1 codebooks: how often each code was chosen.
    """

    quantized: tf.Tensor
    codes: tf.Tensor
    losses: dict[str, tf.Tensor]
    statistics: dict[str, tf.Tensor]


class Quantizer(Protocol):
    """A Keras layer between the encoder and the decoder.

    Calling it changes nothing. What a codebook learns from, other than the gradient, are the
    statistics of the call: whoever trains adds them up over the whole batch and then assigns
    `updates`.

    With `groups` g > 1 the D channels of a position are cut into g equal parts, and each part has
    a code of its own. All parts share one codebook: a code means the same vector in every group,
    so that usage and entropy are those of one alphabet, and every part of every position teaches
    it. (Group-wise codebooks would store g times as much and learn each entry from 1/g of the
    data; the encoder can make the parts as different as they need to be.)

    Attributes:
        num_codes: K.
        groups: g, codes per position.
        codebooks: B; 1, or as many as codes per position, one for each of them.
        variables: all of its state.
    """

    num_codes: int
    groups: int
    codebooks: int
    variables: list[keras.Variable]

    def __call__(self, z, training: bool = False, part: Part = WHOLE) -> Quantized:
        """Quantizes float `[..., D]`. ValueError if the last dimension is not D."""

    def updates(self, statistics: dict[str, tf.Tensor]) -> Updates:
        """Its state after a step, given the statistics of the whole batch."""

    def initialize(self, z) -> None:
        """Fits the quantizer to float `[..., D]`, encodings of real images, before training."""

    def lookup(self, codes) -> tf.Tensor:
        """Vectors of codes. int `[...]`, or `[..., g]` with g > 1 -> float32 `[..., D]`."""

    def codebook(self) -> tf.Tensor:
        """The vector of each code, float32 `[K, D / g]`, or `[B, K, D]` with B > 1 codebooks."""


def split_groups(z, dim: int, groups: int):
    """One row per code to choose. float `[..., D]` -> `[P · g, D / g]` in `state_dtype()`.

    Raises:
        ValueError: if the last dimension of `z` is not `dim`.
    """
    if z.shape.rank == 0 or z.shape[-1] != dim:
        raise ValueError(
            f"the last dimension of z must be embedding_dim={dim}. Received: z of shape "
            f"{tuple(z.shape)}"
        )
    return tf.reshape(tf.cast(z, state_dtype()), [-1, dim // groups])


def join_groups(rows, codes, z, groups: int):
    """The inverse of `split_groups`: rows in the shape of `z`, and codes in that of positions.

    Args:
        rows: float `[P · g, D / g]`.
        codes: int32 `[P · g]`.
        z: `[..., D]`.

    Returns:
        (float `[..., D]`, int32 `[...]`, or `[..., g]` with g > 1).
    """
    vectors = tf.ensure_shape(tf.reshape(rows, tf.shape(z)), z.shape)
    shape, static = tf.shape(z)[:-1], z.shape[:-1]
    if groups > 1:
        shape, static = tf.concat([shape, [groups]], 0), [*static, groups]
    return vectors, tf.ensure_shape(tf.reshape(codes, shape), static)


def join_lookup(rows, codes, dim: int, groups: int):
    """Rows looked up for `codes`. float `[..., D]` or `[..., g, D / g]` -> float `[..., D]`.

    Raises:
        ValueError: with g > 1, if the last dimension of `codes` is not g.
    """
    if groups == 1:
        return rows
    check_lookup(codes, groups, "groups")
    shape = tf.concat([tf.shape(codes)[:-1], [dim]], 0)
    return tf.ensure_shape(tf.reshape(rows, shape), [*codes.shape[:-1], dim])


def check_lookup(codes, count: int, name: str) -> None:
    """ValueError if `codes` are not `count` per position; `name` is what the setting is called."""
    if codes.shape.rank == 0 or codes.shape[-1] != count:
        raise ValueError(
            f"the last dimension of codes must be {name}={count}. Received: codes of shape "
            f"{tuple(codes.shape)}"
        )
