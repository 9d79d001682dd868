"""What the quantizers with a learned codebook have in common."""

from __future__ import annotations

import keras
import tensorflow as tf

from models.config import QuantizerConfig
from models.part import WHOLE, Part
from models.precision import state_dtype
from models.quantizers.estimators import ESTIMATORS
from models.quantizers.interface import (
    Quantized,
    join_groups,
    join_lookup,
    split_groups,
)
from models.quantizers.kmeans import kmeans
from models.quantizers.search import nearest
from models.quantizers.sums import count_codes
from models.updates import Updates


class VectorQuantizer(keras.layers.Layer):
    """Nearest-neighbour quantization (van den Oord et al. 2017, eq. 1 and 2).

    The nearest embedding is chosen and the encoder is held to it by the commitment term of eq. 3.
    How the embeddings learn is left to the subclasses.

    With a cosine codebook, encodings and embeddings are scaled to length 1 first (Yu et al. 2021,
    arXiv 2110.04627), so that the code of the smallest angle is chosen.

    State and distances are float32 whatever the precision of the network (float64 where Keras's
    `floatx` is).

    Args:
        config: sizes and rates.
        seed: seed of the initial codebook.
        trainable: the gradient moves the codebook.
        spread: standard deviation of its first entries.

    Call arguments:
        z: float `[..., D]`, encodings.
        training: gathers the statistics that the codebook learns from.
        part: of the whole batch, for what is drawn from it at random.

    Raises:
        ValueError: if the last dimension of `z` is not `embedding_dim`.
    """

    codebooks = 1

    def __init__(
        self, config: QuantizerConfig, seed: int, trainable: bool, spread: float = 0.05, **kwargs
    ):
        super().__init__(dtype=state_dtype(), **kwargs)
        self.config = config
        self.seed = seed
        self.num_codes = config.num_codes
        self.groups = config.groups
        self._estimate = ESTIMATORS[config.estimator]
        self.embedding = self.add_weight(
            name="embedding",
            shape=(config.num_codes, config.embedding_dim // config.groups),
            initializer=keras.initializers.RandomNormal(stddev=spread, seed=seed),
            trainable=trainable,
            # Every replica computes the same new value from all-reduced sums.
            aggregation="only_first_replica",
            autocast=False,
        )

    def call(self, z, training: bool = False, part: Part = WHOLE) -> Quantized:
        z = tf.convert_to_tensor(z)
        flat = self._scaled(split_groups(z, self.config.embedding_dim, self.groups))  # (P, d)
        codebook = self.codebook()
        codes = nearest(flat, codebook)  # (P,)
        chosen = tf.gather(codebook, codes)  # (P, d)
        statistics = self._statistics(tf.stop_gradient(flat), codes, part) if training else {}
        quantized, joined = join_groups(
            self._estimate(flat, tf.stop_gradient(chosen)), codes, z, self.groups
        )
        return Quantized(quantized, joined, self._terms(flat, chosen), statistics)

    def updates(self, statistics: dict[str, tf.Tensor]) -> Updates:
        """Nothing, where the gradient moves the codebook."""
        return []

    def lookup(self, codes):
        """Vectors of codes. int `[...]`, or `[..., g]` with g > 1 -> float32 `[..., D]`."""
        codes = tf.convert_to_tensor(codes)
        rows = tf.gather(self.codebook(), codes)
        return join_lookup(rows, codes, self.config.embedding_dim, self.groups)

    def codebook(self):
        """The vector of each code, float32 `[K, D / g]`."""
        return self._scaled(tf.convert_to_tensor(self.embedding))

    def initialize(self, z) -> None:
        """Places the codebook on encodings: k-means.

        Called once, outside the replicas, before the first step.

        Args:
            z: float `[..., D]`, encodings of real images; at least a few per code.
        """
        z = tf.convert_to_tensor(z)
        flat = self._scaled(split_groups(z, self.config.embedding_dim, self.groups))
        flat = tf.cast(flat, tf.float32)
        centres, counts = kmeans(
            flat, self.num_codes, self.config.kmeans_iterations, self.seed, self.config.cosine
        )
        self._place(tf.cast(centres, self.dtype), tf.cast(counts, self.dtype))

    def _place(self, centres, counts) -> None:
        self.embedding.assign(centres)

    def _terms(self, flat, chosen) -> dict[str, tf.Tensor]:
        distance = tf.reduce_mean(tf.square(flat - tf.stop_gradient(chosen)))
        return {"commitment_loss": self.config.commitment * distance}

    def _statistics(self, flat, codes, part: Part) -> dict[str, tf.Tensor]:
        return {"counts": count_codes(codes, self.num_codes, self.dtype)}

    def _scaled(self, rows):
        return tf.math.l2_normalize(rows, axis=1) if self.config.cosine else rows
