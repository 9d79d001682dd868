"""Nearest-code search in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from models.device import has_gpu


class Block(NamedTuple):
    """What is compared at a time.

    Attributes:
        scores: float32 numbers that exist at a time, at most.
        codes: rows of the codebook, at most.
    """

    scores: int
    codes: int


# 4 MB, which two cores keep in their caches. Larger blocks are slower as well as larger: their
# pages are touched once and thrown away.
CPU_BLOCK = Block(scores=2**20, codes=2048)
# 256 MB: a GPU needs large products to be busy, and each block costs it the start of some
# operations. 131,072 positions and 65,536 codes are 128 blocks, where the CPU's are 8,192.
GPU_BLOCK = Block(scores=2**26, codes=2**16)


def nearest(vectors, codebook):
    """Index of the nearest row of a codebook (eq. 1 of the VQ-VAE paper), the first of equals.

        argmin_k |z - e_k|² = argmin_k |e_k|² - 2 z·e_k

    Scores are computed block by block and only the smallest so far is kept, so that memory does
    not grow with positions × K. No gradient.

    Args:
        vectors: float32 `[P, D]`.
        codebook: float32 `[K, D]`, K known.

    Returns:
        int32 `[P]`.
    """
    return nearest_with_score(vectors, codebook)[0]


def nearest_with_score(vectors, codebook):
    """As `nearest`, and the score of each choice, float32 `[P]`: |z - e|² less |z|²."""
    vectors, codebook = tf.stop_gradient(vectors), tf.stop_gradient(codebook)
    num_codes, dim = codebook.shape
    block = GPU_BLOCK if has_gpu() else CPU_BLOCK
    code_blocks = -(-num_codes // block.codes)
    codes_each = -(-num_codes // code_blocks)
    # No row is the nearest to anything at an infinite distance: filling to whole blocks.
    fill = code_blocks * codes_each - num_codes
    norms = tf.pad(tf.reduce_sum(tf.square(codebook), axis=1), [[0, fill]], constant_values=1e38)
    columns = tf.pad(tf.transpose(-2.0 * codebook), [[0, 0], [0, fill]])  # (D, blocks · each)

    # A known number of positions gives known shapes, which XLA wants; otherwise tensors do.
    count = vectors.shape[0]
    rows_at_most = max(1, block.scores // codes_each)
    if count is None:
        count = tf.shape(vectors)[0]
        blocks = tf.maximum(1, -(-count // rows_at_most))
    else:
        blocks = max(1, -(-count // rows_at_most))
    each = -(-count // blocks)
    padded = tf.pad(vectors, [[0, blocks * each - count], [0, 0]])

    def search(place):
        rows = tf.slice(padded, [place * each, 0], [each, dim])
        if code_blocks == 1:
            return _smallest(rows, columns, norms)

        def step(index, best, codes):
            start = index * codes_each
            found, score = _smallest(
                rows,
                tf.slice(columns, [0, start], [dim, codes_each]),
                tf.slice(norms, [start], [codes_each]),
            )
            better = score < best
            return index + 1, tf.where(better, score, best), tf.where(better, found + start, codes)

        start = (0, tf.fill([each], vectors.dtype.max), tf.zeros([each], tf.int32))
        loop = tf.while_loop(lambda i, *_: i < code_blocks, step, start, parallel_iterations=1)
        return loop[2], loop[1]

    if isinstance(blocks, int) and blocks == 1:
        return search(0)

    def write(place, codes, scores):
        found, score = search(place)
        return place + 1, codes.write(place, found), scores.write(place, score)

    shape = [each if isinstance(each, int) else None]
    arrays = (
        tf.TensorArray(tf.int32, blocks, element_shape=shape),
        tf.TensorArray(vectors.dtype, blocks, element_shape=shape),
    )
    # One block at a time: that is what bounds the memory.
    _, codes, scores = tf.while_loop(
        lambda place, *_: place < blocks, write, (0, *arrays), parallel_iterations=1
    )
    return tuple(tf.reshape(array.stack(), [-1])[:count] for array in (codes, scores))


def _smallest(rows, columns, norms):
    """Nearest column and its score, of one block. -> int32 `[P]`, float32 `[P]`."""
    scores = tf.nn.bias_add(tf.matmul(rows, columns), norms)  # (P, K), the sum fused
    return tf.argmin(scores, axis=1, output_type=tf.int32), tf.reduce_min(scores, axis=1)
