"""Vector quantization with a codebook learned by exponential moving averages."""

from __future__ import annotations

import tensorflow as tf

from models.config import QuantizerConfig
from models.quantizers.vector import VectorQuantizer


class EMAQuantizer(VectorQuantizer):
    """The codebook follows the encodings assigned to it (van den Oord et al. 2017, appendix A.1).

        N_i <- γ N_i + (1 - γ) n_i        n_i: encodings assigned to code i in this batch
        m_i <- γ m_i + (1 - γ) Σ_j z_ij
        e_i  = m_i / N_i                  N_i with Laplace smoothing, for the division only

    The sums run over the whole global batch, so that the codebook stays the same on every
    replica. A code that nothing is assigned to any more is moved onto an encoding of the
    current batch, its embedding, count and sum together.

    Args:
        config: sizes and rates.
        seed: seed of the initial codebook and of the restarts.
    """

    # Added to every count before the division; the state itself stays unsmoothed.
    EPSILON = 1e-5
    # Count of a restarted code, as a share of an even split. Small, so that the code follows
    # its new neighbours quickly, and several times the restart threshold, so that it has time.
    RESTARTED_SHARE = 0.1

    def __init__(self, config: QuantizerConfig, seed: int = 0, **kwargs):
        super().__init__(config, seed, trainable=False, **kwargs)
        self.counts = self._state("counts", (config.num_codes,), "ones")
        self.sums = self._state("sums", self.embedding.shape, "zeros")
        self.sums.assign(self.codebook())
        self.steps = self._state("steps", (), "zeros", dtype="int32")

    def _state(self, name, shape, initializer, dtype=None):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype=dtype,
            trainable=False,
            aggregation="only_first_replica",
            autocast=False,
        )

    def _place(self, centres, counts) -> None:
        # Counts are kept per step of training, in units of the share of the batch.
        share = counts / tf.reduce_sum(counts) * self.num_codes
        self.embedding.assign(centres)
        self.counts.assign(share)
        self.sums.assign(centres * share[:, None])

    def _learn(self, flat, codes) -> None:
        k, decay = self.num_codes, self.config.decay
        replica = tf.distribute.get_replica_context()
        ones = tf.ones_like(codes, flat.dtype)
        batch_counts = tf.math.unsorted_segment_sum(ones, codes, k)  # (K,)
        batch_sums = tf.math.unsorted_segment_sum(flat, codes, k)  # (K, d)
        # Encodings on each replica: this one's in its own place.
        here = tf.range(replica.num_replicas_in_sync) == replica.replica_id_in_sync_group
        rows = tf.where(here, tf.cast(tf.shape(flat)[0], flat.dtype), 0.0)  # (R,)
        if replica.num_replicas_in_sync > 1:
            batch_counts, batch_sums, rows = replica.all_reduce(
                tf.distribute.ReduceOp.SUM, [batch_counts, batch_sums, rows]
            )
        rows = tf.cast(rows, tf.int32)
        # An even split has count 1 whatever the batch, so that rates and thresholds keep
        # their meaning when the batch size changes. An empty batch changes nothing but by decay.
        scale = tf.math.divide_no_nan(tf.cast(k, flat.dtype), tf.reduce_sum(batch_counts))
        counts = decay * self.counts + (1.0 - decay) * scale * batch_counts
        sums = decay * self.sums + (1.0 - decay) * scale * batch_sums

        total = tf.reduce_sum(counts)
        smoothed = (counts + self.EPSILON) / (total + k * self.EPSILON) * total
        embedding = self._scaled(sums / smoothed[:, None])

        if self.config.restart_threshold > 0:
            dead = counts < self.config.restart_threshold  # (K,)
            dead &= tf.reduce_sum(rows) > 0
            candidates = self._candidates(flat, rows, replica)  # (K, d)
            embedding = tf.where(dead[:, None], candidates, embedding)
            counts = tf.where(dead, tf.cast(self.RESTARTED_SHARE, counts.dtype), counts)
            sums = tf.where(dead[:, None], candidates * self.RESTARTED_SHARE, sums)
        self.embedding.assign(embedding)
        self.counts.assign(counts)
        self.sums.assign(sums)
        self.steps.assign(self.steps + 1)

    def _candidates(self, flat, rows, replica):
        """K encodings drawn from the whole global batch, the same on every replica.

        They are distinct rows where there are K of them. Which rows depends on the seed and the
        step alone, not on how the batch is spread over replicas.

        Args:
            flat: `[P, d]`, this replica's encodings.
            rows: int32 `[R]`, encodings on each replica.
        """
        total = tf.maximum(tf.reduce_sum(rows), 1)
        seed = tf.stack([tf.constant(self.seed, tf.int32), tf.convert_to_tensor(self.steps)])
        # The same generator on every device, so that compiled and plain steps agree.
        noise = tf.random.stateless_uniform([self.num_codes + 1], seed, alg="philox")
        # One from each of K equal stretches of the batch, beginning anywhere: no sorting.
        stretch = tf.maximum(total // self.num_codes, 1)
        within = tf.cast(noise[1:] * tf.cast(stretch, tf.float32), tf.int32)
        first = tf.cast(noise[0] * tf.cast(total, tf.float32), tf.int32)
        chosen = (first + tf.range(self.num_codes) * stretch + within) % total  # (K,)
        # A row to point at, also where a replica has none.
        flat = tf.pad(flat, [[0, 1 - tf.minimum(tf.shape(flat)[0], 1)], [0, 0]])
        if replica.num_replicas_in_sync == 1:
            return tf.gather(flat, chosen)
        # Each replica contributes the rows that it holds.
        here = replica.replica_id_in_sync_group
        local = chosen - tf.cumsum(rows, exclusive=True)[here]
        held = (local >= 0) & (local < rows[here])
        own = tf.where(held[:, None], tf.gather(flat, tf.where(held, local, 0)), 0.0)
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, own)
