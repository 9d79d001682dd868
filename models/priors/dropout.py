"""Dropout that replicas and parts of a batch can agree on."""

from __future__ import annotations

import tensorflow as tf


def drop(x, rate: float, key):
    """Dropout (Srivastava et al. 2014) that is a function of `key`, int64 `[2]`.

    Keras's keeps a state, which is the same on every replica and gives all of them the same mask.
    """
    # The same generator on every device. (XLA's draws other numbers from the same seed.)
    kept = tf.random.stateless_uniform(tf.shape(x), key, alg="philox") >= rate
    return tf.where(kept, x / (1.0 - rate), tf.zeros_like(x))
