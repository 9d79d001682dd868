"""Vector quantization with a codebook learned by gradient descent."""

from __future__ import annotations

import tensorflow as tf

from models.config import QuantizerConfig
from models.quantizers.vector import VectorQuantizer


class GradientQuantizer(VectorQuantizer):
    """The codebook follows the gradient of the codebook loss (van den Oord et al. 2017, eq. 3).

        α · |sg[z] - e|²  +  β · |z - sg[e]|²

    The first term moves the embeddings to the encodings and never the encoder; the second holds
    the encoder to the embeddings and never moves them. Both are means over positions and
    channels; α is `codebook_weight` and β `commitment`.

    Args:
        config: sizes and weights.
        seed: seed of the initial codebook.
    """

    def __init__(self, config: QuantizerConfig, seed: int = 0, trainable: bool = True, **kwargs):
        super().__init__(config, seed, trainable, **kwargs)

    def _terms(self, flat, chosen) -> dict[str, tf.Tensor]:
        distance = tf.reduce_mean(tf.square(tf.stop_gradient(flat) - chosen))
        return {
            "codebook_loss": self.config.codebook_weight * distance,
            **super()._terms(flat, chosen),
        }
