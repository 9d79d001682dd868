"""Vector quantization with a codebook that is a learned linear map of a frozen random table."""

from __future__ import annotations

import tensorflow as tf

from models.config import QuantizerConfig
from models.quantizers.gradient import GradientQuantizer
from models.quantizers.interface import split_groups


class SimVQuantizer(GradientQuantizer):
    """All embeddings move together (Zhu et al. 2024, SimVQ, arXiv 2411.02038).

        e_k = c_k W + b,   α · |sg[z] - e|²  +  β · |z - sg[e]|²

    c_k are the rows of a random table that never changes; W and b follow the gradient of the
    codebook loss (eq. 3 of the VQ-VAE paper). With a codebook of parameters of its own, a code
    that nothing is assigned to gets no gradient and stays behind; here every assignment moves W,
    and with it all codes, so that large codebooks stay in use without restarts.

    Args:
        config: sizes and weights.
        seed: seed of the table.
    """

    def __init__(self, config: QuantizerConfig, seed: int = 0, **kwargs):
        dim = config.embedding_dim // config.groups
        # As in the paper's own code: rows of length 1, about.
        super().__init__(config, seed, trainable=False, spread=dim**-0.5, **kwargs)
        # By names that weight decay leaves alone: the embeddings are a product of these.
        self.kernel = self._weight("embedding_map", (dim, dim), "identity")
        self.bias = self._weight("embedding_offset", (dim,), "zeros")

    def _weight(self, name: str, shape: tuple[int, ...], initializer: str):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            aggregation="only_first_replica",
            autocast=False,
        )

    def codebook(self):
        """The vector of each code, float32 `[K, D / g]`."""
        rows = tf.matmul(tf.convert_to_tensor(self.embedding), tf.convert_to_tensor(self.kernel))
        return self._scaled(rows + tf.convert_to_tensor(self.bias))

    def initialize(self, z) -> None:
        """Gives the codebook the mean and the covariance of encodings; the table stays.

        Called once, outside the replicas, before the first step.

        Args:
            z: float `[..., D]`, encodings of real images.
        """
        z = tf.convert_to_tensor(z)
        flat = self._scaled(split_groups(z, self.config.embedding_dim, self.groups))  # (P, d)
        table = tf.convert_to_tensor(self.embedding)
        mean, table_mean = tf.reduce_mean(flat, axis=0), tf.reduce_mean(table, axis=0)
        # W = C_table^(-1/2) C_z^(1/2) gives the rows the covariance of the encodings.
        kernel = tf.matmul(
            _power(table - table_mean, exponent=-0.5), _power(flat - mean, exponent=0.5)
        )
        self.kernel.assign(kernel)
        self.bias.assign(mean - tf.linalg.matvec(kernel, table_mean, transpose_a=True))


def _power(centred, exponent: float):
    """A power of the covariance of rows, which is symmetric. `[P, d]` -> `[d, d]`."""
    covariance = tf.matmul(centred, centred, transpose_a=True)
    covariance /= tf.cast(tf.maximum(tf.shape(centred)[0], 1), covariance.dtype)
    values, vectors = tf.linalg.eigh(covariance)
    # Rounding may give a channel without spread an eigenvalue below 0; and a table of fewer rows
    # than channels has directions without any, which stay without.
    largest = tf.reduce_max(values)
    safe = tf.maximum(values, 1e-6 * largest)
    powers = tf.where(values > 1e-6 * largest, safe**exponent, tf.zeros_like(values))
    return tf.matmul(vectors * powers, vectors, transpose_b=True)
