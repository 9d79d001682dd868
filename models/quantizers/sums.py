"""Sums over the encodings that have the same code."""

from __future__ import annotations

import tensorflow as tf

from models.device import has_gpu

# Numbers of a one-hot matrix that a product may be made with, 256 MB of float32.
_ONE_HOT = 2**26


def sums_by_code(rows, codes, num_codes: int):
    """Σ of the rows that have each code. float `[P, d]`, int32 `[P]` -> float `[K, d]`.

    Added up as they come on a CPU. On a GPU many rows of one code would wait for each other, and
    where the order of the additions must not vary they are made one by one; the product with a
    one-hot matrix, where that is not too large, does neither.
    """
    count = rows.shape[0]
    if has_gpu() and count is not None and count * num_codes <= _ONE_HOT:
        return tf.matmul(tf.one_hot(codes, num_codes, dtype=rows.dtype), rows, transpose_a=True)
    return tf.math.unsorted_segment_sum(rows, codes, num_codes)


def count_codes(codes, num_codes: int, dtype: str):
    """How often each code occurs. int32 `[P]` -> float `[K]`."""
    # Not tf.math.bincount, which XLA cannot compile.
    return sums_by_code(tf.ones_like(codes[:, None], dtype), codes, num_codes)[:, 0]
