"""Draws of codes from logits: one number in [0, 1) per code, temperature, top-k and top-p."""

from __future__ import annotations

import math

import tensorflow as tf

# Codes whose cumulative sum is as fast as that of blocks (two CPU cores, 1 to 64 images).
_FEW = 128


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
        int64 `[N]`, as TensorFlow computes with int32 on the CPU, also where there is a GPU.
        Never a code of probability 0.
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
    codes = _inverse(tf.exp(logits), uniform)
    return tf.minimum(codes, last)  # where a network has diverged to NaN


def _inverse(weights, uniform):
    """The first code whose cumulative weight is above `uniform` of the whole: int64 `[N]`.

    Cumulative sums take most of the time of a draw, as they go from one number to the next.
    Where there are many codes, a block of about √K is found by the sums of the blocks, and only
    that block is looked into.
    """
    num_codes, uniform = weights.shape[-1], uniform[:, None]
    if num_codes <= _FEW:
        cumulative = tf.cumsum(weights, axis=-1)
        # Below the last, as uniform is below 1.
        return _up_to(cumulative, uniform * cumulative[:, -1:])[:, 0]
    width = 2 ** math.ceil(math.log2(num_codes) / 2)
    blocks = -(-num_codes // width)
    if num_codes < blocks * width:
        weights = tf.pad(weights, [[0, 0], [0, blocks * width - num_codes]])
    weights = tf.reshape(weights, [-1, blocks, width])
    sums = tf.reduce_sum(weights, axis=-1)
    starts = tf.cumsum(sums, axis=-1, exclusive=True)
    threshold = uniform * (starts[:, -1:] + sums[:, -1:])
    block = _up_to(starts, threshold) - 1  # (N, 1); the first starts at 0
    inside = tf.reshape(tf.gather(weights, block, batch_dims=1), [-1, width])
    cumulative = tf.cumsum(inside, axis=-1)
    remaining = threshold - tf.gather(starts, block, batch_dims=1)
    # Sums in another order are rounded otherwise, and must not lead behind the last weight.
    remaining = tf.minimum(remaining, cumulative[:, -1:] * (1.0 - 2.0**-23))
    return (block * width + _up_to(cumulative, remaining))[:, 0]


def _up_to(increasing, threshold):
    """Entries up to the threshold: the index of the first beyond it. `[N, n]`, `[N, 1]`."""
    return tf.raw_ops.UpperBound(sorted_inputs=increasing, values=threshold, out_type=tf.int64)


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
