"""Nearest-code search in bounded memory."""

from __future__ import annotations

import tensorflow as tf

# Scores that exist at a time: 4 MB of float32, which two cores keep in their caches. Larger
# blocks are slower as well as larger: their pages are touched once and thrown away.
_SCORES = 2**20
# Codes of one block.
_CODES = 2048


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
    code_blocks = -(-num_codes // _CODES)
    codes_each = -(-num_codes // code_blocks)
    # No row is the nearest to anything at an infinite distance: filling to whole blocks.
    fill = code_blocks * codes_each - num_codes
    norms = tf.pad(tf.reduce_sum(tf.square(codebook), axis=1), [[0, fill]], constant_values=1e38)
    columns = tf.pad(tf.transpose(-2.0 * codebook), [[0, 0], [0, fill]])  # (D, blocks · each)

    # A known number of positions gives known shapes, which XLA wants; otherwise tensors do.
    count = vectors.shape[0]
    if count is None:
        count = tf.shape(vectors)[0]
        blocks = tf.maximum(1, -(-count // (_SCORES // codes_each)))
    else:
        blocks = max(1, -(-count // (_SCORES // codes_each)))
    each = -(-count // blocks)
    padded = tf.pad(vectors, [[0, blocks * each - count], [0, 0]])

    def search(block):
        rows = tf.slice(padded, [block * each, 0], [each, dim])
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

    def write(block, codes, scores):
        found, score = search(block)
        return block + 1, codes.write(block, found), scores.write(block, score)

    shape = [each if isinstance(each, int) else None]
    arrays = (
        tf.TensorArray(tf.int32, blocks, element_shape=shape),
        tf.TensorArray(vectors.dtype, blocks, element_shape=shape),
    )
    # One block at a time: that is what bounds the memory.
    _, codes, scores = tf.while_loop(
        lambda block, *_: block < blocks, write, (0, *arrays), parallel_iterations=1
    )
    return tuple(tf.reshape(array.stack(), [-1])[:count] for array in (codes, scores))


def _smallest(rows, columns, norms):
    """Nearest column and its score, of one block. -> int32 `[P]`, float32 `[P]`."""
    scores = tf.nn.bias_add(tf.matmul(rows, columns), norms)  # (P, K), the sum fused
    return tf.argmin(scores, axis=1, output_type=tf.int32), tf.reduce_min(scores, axis=1)
