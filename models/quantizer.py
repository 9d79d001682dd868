"""Vector quantization with a codebook learned by exponential moving averages."""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from models.config import QuantizerConfig


class Quantized(NamedTuple):
    """What a quantizer returns.

    Attributes:
        quantized: `[..., D]`, the embeddings of the codes, with the straight-through gradient.
        codes: int32 `[...]`.
        losses: name -> scalar; terms to add to the training loss, already weighted.
    """

    quantized: tf.Tensor
    codes: tf.Tensor
    losses: dict[str, tf.Tensor]


class EMAQuantizer(keras.layers.Layer):
    """Nearest-neighbour quantization, codebook by exponential moving averages.

    van den Oord et al. 2017: the nearest embedding is chosen (eq. 1, 2), the gradient is
    copied straight through, the encoder is held to its codes by the commitment term of eq. 3,
    and the codebook follows the encodings assigned to it (appendix A.1):

        N_i <- γ N_i + (1 - γ) n_i        n_i: encodings assigned to code i in this batch
        m_i <- γ m_i + (1 - γ) Σ_j z_ij
        e_i  = m_i / N_i                  N_i with Laplace smoothing, for the division only

    The sums run over the whole global batch, so that the codebook stays the same on every
    replica. A code that nothing is assigned to any more is moved onto an encoding of the
    current batch, its embedding, count and sum together.

    Args:
        config: sizes and rates.
        seed: seed of the initial codebook and of the restarts.

    Call arguments:
        z: float `[..., D]`, encodings.
        training: moves the codebook; otherwise it is frozen.

    Raises:
        ValueError: if the last dimension of `z` is not `embedding_dim`.
    """

    # Added to every count before the division; the state itself stays unsmoothed.
    EPSILON = 1e-5
    # Count of a restarted code, as a share of an even split. Small, so that the code follows
    # its new neighbours quickly, and several times the restart threshold, so that it has time.
    RESTARTED_SHARE = 0.1

    def __init__(self, config: QuantizerConfig, seed: int = 0, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.config = config
        self.seed = seed
        self.num_codes = config.num_codes
        k, d = config.num_codes, config.embedding_dim
        self.embedding = self._state(
            "embedding", (k, d), keras.initializers.RandomNormal(seed=seed)
        )
        self.counts = self._state("counts", (k,), "ones")
        self.sums = self._state("sums", (k, d), "zeros")
        self.sums.assign(self.embedding)
        self.steps = self._state("steps", (), "zeros", dtype="int32")

    def _state(self, name, shape, initializer, dtype="float32"):
        # Every replica computes the same new value from all-reduced statistics.
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype=dtype,
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, z, training: bool = False) -> Quantized:
        dim = self.config.embedding_dim
        if z.shape[-1] != dim:
            raise ValueError(
                f"the last dimension of z must be embedding_dim={dim}. Received: z of shape "
                f"{tuple(z.shape)}"
            )
        z = tf.cast(z, tf.float32)
        flat = tf.reshape(z, [-1, dim])  # (P, D)
        codes = self.nearest(flat)  # (P,)
        quantized = tf.reshape(self.lookup(codes), tf.shape(z))
        quantized.set_shape(z.shape)

        commitment = tf.reduce_mean(tf.square(z - tf.stop_gradient(quantized)))
        losses = {"commitment_loss": self.config.commitment * commitment}
        if training:
            self._update(tf.stop_gradient(flat), codes)
        straight_through = z + tf.stop_gradient(quantized - z)
        return Quantized(straight_through, tf.reshape(codes, tf.shape(z)[:-1]), losses)

    def nearest(self, flat):
        """Index of the nearest embedding (eq. 1). float `[P, D]` -> int32 `[P]`."""
        codebook = tf.convert_to_tensor(self.embedding)  # (K, D)
        # |z - e|² without |z|², which is the same for every code.
        distance = tf.reduce_sum(tf.square(codebook), axis=1) - 2.0 * tf.matmul(
            flat, codebook, transpose_b=True
        )  # (P, K)
        return tf.argmin(distance, axis=1, output_type=tf.int32)

    def lookup(self, codes):
        """Embeddings of codes. int `[...]` -> float32 `[..., D]`."""
        return tf.gather(tf.convert_to_tensor(self.embedding), codes)

    def initialize(self, z) -> None:
        """Places the codebook on encodings: k-means++ seeding, then Lloyd iterations.

        Called once, outside the replicas, before the first step.

        Args:
            z: float `[..., D]`, encodings of real images; at least a few per code.
        """
        flat = tf.reshape(tf.cast(z, tf.float32), [-1, self.config.embedding_dim])
        centres, counts = kmeans(flat, self.num_codes, self.config.kmeans_iterations, self.seed)
        # Counts are kept per step of training, in units of the share of the batch.
        share = counts / tf.reduce_sum(counts) * self.num_codes
        self.embedding.assign(centres)
        self.counts.assign(share)
        self.sums.assign(centres * share[:, None])

    def _update(self, flat, codes) -> None:
        k, decay = self.num_codes, self.config.decay
        replica = tf.distribute.get_replica_context()
        ones = tf.ones_like(codes, tf.float32)
        batch_counts = tf.math.unsorted_segment_sum(ones, codes, k)  # (K,)
        batch_sums = tf.math.unsorted_segment_sum(flat, codes, k)  # (K, D)
        if replica.num_replicas_in_sync > 1:
            batch_counts, batch_sums = replica.all_reduce(
                tf.distribute.ReduceOp.SUM, [batch_counts, batch_sums]
            )
        # An even split has count 1 whatever the batch, so that rates and thresholds keep
        # their meaning when the batch size changes.
        scale = tf.cast(k, tf.float32) / tf.reduce_sum(batch_counts)
        counts = decay * self.counts + (1.0 - decay) * scale * batch_counts
        sums = decay * self.sums + (1.0 - decay) * scale * batch_sums

        total = tf.reduce_sum(counts)
        smoothed = (counts + self.EPSILON) / (total + k * self.EPSILON) * total
        embedding = sums / smoothed[:, None]

        if self.config.restart_threshold > 0:
            dead = counts < self.config.restart_threshold  # (K,)
            candidates = self._candidates(flat, replica)  # (K, D)
            embedding = tf.where(dead[:, None], candidates, embedding)
            counts = tf.where(dead, self.RESTARTED_SHARE, counts)
            sums = tf.where(dead[:, None], candidates * self.RESTARTED_SHARE, sums)
        self.embedding.assign(embedding)
        self.counts.assign(counts)
        self.sums.assign(sums)
        self.steps.assign(self.steps + 1)

    def _candidates(self, flat, replica):
        """K encodings drawn from the whole global batch, the same on every replica."""
        seed = tf.stack([tf.constant(self.seed, tf.int32), tf.convert_to_tensor(self.steps)])
        drawn = self._draw(flat, seed)
        if replica.num_replicas_in_sync > 1:
            drawn = self._draw(replica.all_gather(drawn, axis=0), seed + tf.constant([1, 0]))
        return drawn

    def _draw(self, rows, seed):
        """K rows, without repetition where there are enough of them."""
        count = tf.shape(rows)[0]
        order = tf.argsort(tf.random.stateless_uniform([count], seed))
        return tf.gather(rows, tf.gather(order, tf.range(self.num_codes) % count))


def kmeans(points, clusters: int, iterations: int, seed: int):
    """k-means on `points`: k-means++ seeding (Arthur & Vassilvitskii 2007), Lloyd iterations.

    Args:
        points: float32 `[P, D]`.
        clusters: K.
        iterations: Lloyd iterations; an empty cluster keeps its centre.
        seed: integer.

    Returns:
        (centres float32 `[K, D]`, counts float32 `[K]` of the points nearest to each).
    """
    return _kmeans(tf.convert_to_tensor(points), clusters, iterations, seed)


@tf.function(reduce_retracing=True)
def _kmeans(points, clusters, iterations, seed):
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
    placed = centres.stack()  # (K, D)

    counts = tf.zeros([clusters])
    for _ in tf.range(iterations + 1):
        scores = tf.reduce_sum(tf.square(placed), axis=1) - 2.0 * tf.matmul(
            points, placed, transpose_b=True
        )
        codes = tf.argmin(scores, axis=1, output_type=tf.int32)
        counts = tf.math.unsorted_segment_sum(tf.ones([count]), codes, clusters)
        means = tf.math.unsorted_segment_sum(points, codes, clusters) / counts[:, None]
        placed = tf.where(counts[:, None] > 0, means, placed)
    return placed, counts
