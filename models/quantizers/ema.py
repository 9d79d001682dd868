"""Vector quantization with a codebook learned by exponential moving averages."""

from __future__ import annotations

import tensorflow as tf

from models.config import QuantizerConfig
from models.part import Part
from models.quantizers.sums import sums_by_code
from models.quantizers.vector import VectorQuantizer
from models.updates import Updates


class EMAQuantizer(VectorQuantizer):
    """The codebook follows the encodings assigned to it (van den Oord et al. 2017, appendix A.1).

        N_i <- γ N_i + (1 - γ) n_i        n_i: encodings assigned to code i in this batch
        m_i <- γ m_i + (1 - γ) Σ_j z_ij
        e_i  = m_i / N_i                  N_i with Laplace smoothing, for the division only

    The sums run over the whole batch, so that the codebook stays the same on every replica. A
    code that nothing is assigned to any more is moved onto an encoding of the current batch, its
    embedding, count and sum together.

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
        # Not int32: TensorFlow keeps such variables on the CPU, out of reach of a step that is
        # compiled for a GPU.
        self.steps = self._state("steps", (), "zeros", dtype="int64")

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

    def _statistics(self, flat, codes, part: Part) -> dict[str, tf.Tensor]:
        statistics = super()._statistics(flat, codes, part)
        statistics["sums"] = sums_by_code(flat, codes, self.num_codes)  # (K, d)
        if self.config.restart_threshold > 0:
            statistics["candidates"] = self._candidates(flat, part)
        return statistics

    def updates(self, statistics: dict[str, tf.Tensor]) -> Updates:
        """Codebook, counts and sums after a step, by the formulas above."""
        k, decay = self.num_codes, self.config.decay
        encodings = tf.reduce_sum(statistics["counts"])
        # An even split has count 1 whatever the batch, so that rates and thresholds keep
        # their meaning when the batch size changes. An empty batch changes nothing but by decay.
        scale = tf.math.divide_no_nan(tf.cast(k, self.dtype), encodings)
        counts = decay * self.counts + (1.0 - decay) * scale * statistics["counts"]
        sums = decay * self.sums + (1.0 - decay) * scale * statistics["sums"]

        total = tf.reduce_sum(counts)
        smoothed = (counts + self.EPSILON) / (total + k * self.EPSILON) * total
        embedding = self._scaled(sums / smoothed[:, None])

        if self.config.restart_threshold > 0:
            candidates = statistics["candidates"]  # (K, d)
            dead = (counts < self.config.restart_threshold) & (encodings > 0)  # (K,)
            embedding = tf.where(dead[:, None], candidates, embedding)
            counts = tf.where(dead, tf.cast(self.RESTARTED_SHARE, counts.dtype), counts)
            sums = tf.where(dead[:, None], candidates * self.RESTARTED_SHARE, sums)
        return [
            (self.embedding, embedding),
            (self.counts, counts),
            (self.sums, sums),
            (self.steps, tf.convert_to_tensor(self.steps) + 1),
        ]

    def _candidates(self, flat, part: Part):
        """This part's rows among K encodings that are drawn from the whole batch, else zeros.

        They are distinct rows where there are K of them. Which rows depends on the seed and the
        step alone, not on how the batch is cut into parts; their sum over the parts is all of
        them.

        Args:
            flat: `[P, d]`, the encodings of this part.
            part: the parts have equally many.
        """
        count = tf.shape(flat)[0]
        total = tf.maximum(count * part.of, 1)
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.convert_to_tensor(self.steps)])
        # The same generator on every device. (XLA's draws other numbers from the same seed.)
        noise = tf.random.stateless_uniform([self.num_codes + 1], seed, alg="philox")
        # One from each of K equal stretches of the batch, beginning anywhere: no sorting.
        stretch = tf.maximum(total // self.num_codes, 1)
        within = tf.cast(noise[1:] * tf.cast(stretch, tf.float32), tf.int32)
        first = tf.cast(noise[0] * tf.cast(total, tf.float32), tf.int32)
        chosen = (first + tf.range(self.num_codes) * stretch + within) % total  # (K,)
        # A row to point at, also where there is none.
        flat = tf.pad(flat, [[0, 1 - tf.minimum(count, 1)], [0, 0]])
        if part.of == 1:
            return tf.gather(flat, chosen)
        local = chosen - part.number * count
        held = (local >= 0) & (local < count)
        return tf.where(held[:, None], tf.gather(flat, tf.where(held, local, 0)), 0.0)
