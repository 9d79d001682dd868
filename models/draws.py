"""Draws of codes from logits: one number in [0, 1) per code, temperature, top-k and top-p."""

from __future__ import annotations

import tensorflow as tf


def noise(seed, count, positions: int) -> tf.Tensor:
    """What the draws of each image are made from: float32 `[N, positions]`, uniform in [0, 1).

    Image i gets the same numbers whatever the number of images.
    """
    words = tf.bitcast(tf.cast(seed, tf.int64), tf.int32)  # (2,)
    return tf.random.stateless_uniform([count, positions], words, alg="philox")


def draw(logits, uniform, temperature, top_k=0, top_p=1.0) -> tf.Tensor:
    """Codes drawn from logits, by inverting the cumulative distribution.

    One number per draw, where the Gumbel trick takes K and two logarithms of each.

    Args:
        logits: float32 `[N, K]`.
        uniform: float32 `[N]` in [0, 1).
        temperature: float scalar above 0.
        top_k: int scalar; only the k most likely codes, 0 for all.
        top_p: float scalar in (0, 1]; of those only the most likely ones that together reach
            this probability, 1 for all.

    Returns:
        int32 `[N]`. Never a code of probability 0.
    """
    last = logits.shape[-1] - 1
    # The difference first: logits / temperature may overflow.
    logits = (logits - tf.reduce_max(logits, axis=-1, keepdims=True)) / temperature
    # Sorting costs several times all the rest, so it is left out where nothing is asked for.
    restricted = (top_k > 0) | (top_p < 1.0)
    static = tf.get_static_value(restricted)
    if static is None:
        logits = tf.cond(restricted, lambda: _restrict(logits, top_k, top_p), lambda: logits)
    elif static:
        logits = _restrict(logits, top_k, top_p)
    cumulative = tf.cumsum(tf.exp(logits), axis=-1)
    thresholds = uniform[:, None] * cumulative[:, -1:]  # below the last, as uniform is below 1
    # The number of entries up to the threshold is the first code beyond it.
    codes = tf.raw_ops.UpperBound(sorted_inputs=cumulative, values=thresholds)[:, 0]
    return tf.minimum(codes, last)  # where a network has diverged to NaN


def _restrict(logits, top_k, top_p):
    """Logits with -inf for the less likely codes. Codes as likely as the last one kept stay."""
    ordered = tf.sort(logits, axis=-1, direction="DESCENDING")
    kept = (top_k == 0) | (tf.range(logits.shape[-1]) < top_k)  # (K,)
    probabilities = tf.nn.softmax(tf.where(kept, ordered, -float("inf")))
    before = tf.cumsum(probabilities, axis=-1, exclusive=True)
    # Rounded sums may reach 1 before the last code.
    kept &= (before < top_p) | (top_p >= 1.0)
    least = tf.reduce_min(tf.where(kept, ordered, float("inf")), axis=-1, keepdims=True)
    return tf.where(logits < least, -float("inf"), logits)
