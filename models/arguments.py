"""The arguments of a signature, as somebody's request brings them."""

from __future__ import annotations

import tensorflow as tf


def checked(argument):
    """The argument of a signature, its shape checked when it runs and not only when traced.

    A loaded signature takes a tensor of any rank, and a kernel further on may abort the process.
    The name of the argument is in the message.
    """
    return tf.ensure_shape(argument, argument.shape)


def require(condition, message: str, received) -> tf.Operation:
    """A check; what uses the value must depend on it, or may run first and fail first."""
    return tf.debugging.Assert(condition, [message + ". Received:", received], summarize=8)


def never_empty(rows):
    """`[N, ...]` -> `[max(N, 1), ...]`, with zeros where there was nothing.

    oneDNN refuses a batch of none: one row is computed instead, and left out again.
    """
    missing = tf.maximum(1 - tf.shape(rows)[0], 0)
    return tf.pad(rows, [[0, missing], *[[0, 0]] * (rows.shape.rank - 1)])
