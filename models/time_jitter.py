"""Time jitter: noise of training that keeps neighbouring codes alike."""

from __future__ import annotations

import tensorflow as tf

from models.part import WHOLE, Part


def jittered(quantized, share: float, key, part: Part = WHOLE):
    """Rows of an image's embeddings, some of them those of the row before or behind.

    (Chorowski et al. 2019, arXiv 1901.08810, section II-D.) A code that may be replaced by its
    neighbour cannot say what the neighbour does not, so that codes say what lasts: sounds rather
    than single moments of a voice.

    Args:
        quantized: float `[n, h, w, D]`; rows are moments, and the columns of one move together.
        share: probability that a row is replaced, by either of both neighbours alike. The first
            and the last have one neighbour, and stay where the other would be.
        key: int64 `[2]`, which decides what is replaced.
        part: of the whole batch that this is; whatever the part, an image moves alike.
    """
    count, rows = tf.shape(quantized)[0], quantized.shape[1]
    drawn = tf.random.stateless_uniform([count * part.of, rows], key, alg="philox")
    drawn = drawn[part.number * count : (part.number + 1) * count, :, None, None]
    before = tf.concat([quantized[:, :1], quantized[:, :-1]], axis=1)
    behind = tf.concat([quantized[:, 1:], quantized[:, -1:]], axis=1)
    return tf.where(drawn < share / 2, before, tf.where(drawn < share, behind, quantized))
