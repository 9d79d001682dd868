"""k-means in bounded memory, for codebooks of any size."""

from __future__ import annotations

import tensorflow as tf

from models.quantizers.search import nearest, nearest_with_score
from models.quantizers.sums import count_codes, sums_by_code

# Centres that are drawn one after the other, as k-means++ does it.
_ONE_BY_ONE = 1024


def kmeans(points, clusters: int, iterations: int, seed: int, spherical: bool = False):
    """k-means: k-means++ seeding (Arthur & Vassilvitskii 2007), then Lloyd iterations.

    k-means++ passes over all points once per centre, which is too much for large codebooks. From
    the 1,025th centre on they are drawn in rounds, half as many at a time as there are already,
    each point with a probability proportional to its squared distance from the centres of the
    rounds before, as in k-means|| (Bahmani et al. 2012). 65,536 centres take eleven rounds.

    Args:
        points: float32 `[P, D]`; of length 1 if `spherical`.
        clusters: K.
        iterations: Lloyd iterations after the first, which there is in any case; an empty
            cluster keeps its centre.
        seed: integer.
        spherical: keeps the centres at length 1.

    Returns:
        (centres float32 `[K, D]`, counts float32 `[K]` of the points nearest to each).
    """
    points = tf.convert_to_tensor(points)
    centres, distance = _plus_plus(points, min(clusters, _ONE_BY_ONE), seed)
    square = tf.reduce_sum(tf.square(points), axis=1)
    placed = centres.shape[0]
    while placed < clusters:
        count = min(clusters - placed, placed // 2, len(points))
        drawn = _draw(points, distance, count, tf.constant([seed, placed]))
        score = _scores(points, drawn)
        distance = tf.minimum(distance, tf.maximum(score + square, 0.0))
        centres = tf.concat([centres, drawn], axis=0)
        placed += count
    return _lloyd(points, centres, tf.constant(iterations), spherical)


@tf.function
def _plus_plus(points, clusters, seed):
    """K centres and the squared distance of each point to the nearest of them."""
    count = tf.shape(points)[0]
    noise = tf.random.stateless_uniform([clusters], [seed, 0])
    first = points[tf.cast(noise[0] * tf.cast(count, tf.float32), tf.int32)]
    centres = tf.TensorArray(tf.float32, clusters, element_shape=first.shape).write(0, first)
    distance = tf.reduce_sum(tf.square(points - first), axis=1)  # (P,) to the nearest centre
    for i in tf.range(1, clusters):
        # The next centre is drawn with probability proportional to the squared distance.
        cumulative = tf.cumsum(distance)
        index = tf.searchsorted(cumulative, [noise[i] * cumulative[-1]])[0]
        centre = points[tf.minimum(index, count - 1)]
        centres = centres.write(i, centre)
        distance = tf.minimum(distance, tf.reduce_sum(tf.square(points - centre), axis=1))
    return tf.ensure_shape(centres.stack(), [clusters, points.shape[1]]), distance


@tf.function
def _scores(points, centres):
    return nearest_with_score(points, centres)[1]


def _draw(points, distance, count: int, seed):
    """Different points, each with probability proportional to its squared distance."""
    noise = tf.random.stateless_uniform(tf.shape(distance), seed, minval=1e-30)
    # The largest of log p plus Gumbel noise are a draw without replacement.
    keys = tf.math.log(distance) - tf.math.log(-tf.math.log(noise))
    return tf.gather(points, tf.math.top_k(keys, count, sorted=False).indices)


@tf.function
def _lloyd(points, centres, iterations, spherical):
    clusters = centres.shape[0]
    counts = tf.zeros([clusters])
    for _ in tf.range(iterations + 1):
        codes = nearest(points, centres)
        counts = count_codes(codes, clusters, "float32")
        sums = sums_by_code(points, codes, clusters)
        means = tf.math.divide_no_nan(sums, counts[:, None])
        if spherical:
            means = tf.math.l2_normalize(means, axis=1)
        centres = tf.where(counts[:, None] > 0, means, centres)
    return centres, counts
