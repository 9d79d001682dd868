"""Networks that are given a few images at a time, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf


def bounded(
    function: Callable[..., tf.Tensor],
    rows: Sequence[tf.Tensor],
    at_once: int,
    shape: Sequence[int],
    dtype: str,
) -> tf.Tensor:
    """`function(*rows)`, whose memory does not grow with the rows beyond `at_once`.

    Args:
        function: `[n, ...]`, … -> `[n, *shape]`, each row by itself; of at least one row.
        rows: its arguments, equally many rows of each, any number.
        at_once: the most rows that it is given.
        shape: of what it makes of a row.
        dtype: of the same.
    """
    rows = [tf.convert_to_tensor(each) for each in rows]
    count = rows[0].shape[0]
    if count is not None and count <= at_once:
        return function(*rows)
    parts = tf.maximum(-(-tf.shape(rows[0])[0] // at_once), 1)
    # No GPU has an operation for arrays of uint8; 16 bits hold its numbers exactly.
    kept = tf.float16 if dtype == "uint8" else dtype
    results = tf.TensorArray(kept, parts, infer_shape=False, element_shape=[None, *shape])

    def one(part: tf.Tensor, results: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        made = function(*(each[part * at_once : (part + 1) * at_once] for each in rows))
        return part + 1, results.write(part, tf.cast(made, kept))

    _, results = tf.while_loop(
        lambda part, _: part < parts, one, (0, results), parallel_iterations=1
    )
    return tf.cast(tf.ensure_shape(results.concat(), [None, *shape]), dtype)
