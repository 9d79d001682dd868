"""Products of the last dimension."""

from __future__ import annotations

import tensorflow as tf


def product(x, kernel, bias=None):
    """x W + b, `[..., in]` and `[in, out]` -> `[..., out]`."""
    # One product of all positions: [N, h, w, ...] would be N · h small ones.
    flat = x if x.shape.rank == 2 else tf.reshape(x, [-1, x.shape[-1]])
    y = tf.matmul(flat, kernel)
    if bias is not None:
        y = tf.nn.bias_add(y, bias)
    if x.shape.rank == 2:
        return y
    return tf.reshape(y, tf.concat([tf.shape(x)[:-1], [kernel.shape[-1]]], axis=0))
