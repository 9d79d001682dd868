"""The network of the Keras documentation's VQ-VAE example: 28×28 images, 7×7 codes, K = 128.

Strided 3×3 convolutions of 32 and 64 channels and a 1×1 convolution to D = 16, mirrored by the
decoder. `ExampleVQVAE` trains it with our quantizers, `OneHotQuantizer` is the example's own.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from benchmarks.fashion_mnist import IMAGE
from models.config import ModelConfig, NetworkConfig, QuantizerConfig
from models.likelihoods import build_likelihood
from models.quantizers import build_quantizer
from models.vqvae import VQVAE

NUM_CODES, EMBEDDING_DIM, COMMITMENT = 128, 16, 0.25
CODE_SHAPE = (7, 7)


def encoder(embedding_dim: int = EMBEDDING_DIM) -> keras.Sequential:
    """`[N, 28, 28, 1]` -> `[N, 7, 7, D]`."""
    same = {"padding": "same"}
    return keras.Sequential(
        [
            keras.layers.Conv2D(32, 3, strides=2, activation="relu", **same),
            keras.layers.Conv2D(64, 3, strides=2, activation="relu", **same),
            keras.layers.Conv2D(embedding_dim, 1, **same),
        ]
    )


def decoder() -> keras.Sequential:
    """`[N, 7, 7, D]` -> `[N, 28, 28, 1]`."""
    same = {"padding": "same"}
    return keras.Sequential(
        [
            keras.layers.Conv2DTranspose(64, 3, strides=2, activation="relu", **same),
            keras.layers.Conv2DTranspose(32, 3, strides=2, activation="relu", **same),
            keras.layers.Conv2DTranspose(1, 3, **same),
        ]
    )


class ExampleVQVAE(VQVAE):
    """The example's encoder and decoder around one of our quantizers."""

    def __init__(self, quantizer: QuantizerConfig, data_variance: float, seed: int = 0):
        super(VQVAE, self).__init__()  # not its encoder and decoder
        self.config = NetworkConfig(image=IMAGE, model=ModelConfig(quantizer=quantizer))
        assert self.config.code_grid == CODE_SHAPE
        keras.utils.set_random_seed(seed)
        self.encoder = encoder(quantizer.embedding_dim)
        self.quantizer = build_quantizer(quantizer, seed=seed)
        self.likelihood = build_likelihood(self.config.model.decoder, 1, data_variance)
        self.decoder = decoder()
        self.encoder(tf.zeros([1, *IMAGE.hwc]))
        self.decoder(tf.zeros([1, *CODE_SHAPE, quantizer.embedding_dim]))
        self.built = True


class OneHotQuantizer(keras.layers.Layer):
    """Eq. 3 of the VQ-VAE paper the plain way: all distances, a one-hot matrix, a product."""

    def __init__(self):
        super().__init__()
        self.codebook = self.add_weight(
            shape=(NUM_CODES, EMBEDDING_DIM), initializer="random_uniform"
        )

    def call(self, z):
        flat = tf.reshape(z, [-1, EMBEDDING_DIM])
        distances = (
            tf.reduce_sum(flat**2, axis=1, keepdims=True)
            + tf.reduce_sum(self.codebook**2, axis=1)
            - 2.0 * tf.matmul(flat, self.codebook, transpose_b=True)
        )
        chosen = tf.one_hot(tf.argmin(distances, axis=1), NUM_CODES)
        quantized = tf.reshape(tf.matmul(chosen, self.codebook), tf.shape(z))
        self.add_loss(COMMITMENT * tf.reduce_mean((tf.stop_gradient(quantized) - z) ** 2))
        self.add_loss(tf.reduce_mean((quantized - tf.stop_gradient(z)) ** 2))
        return z + tf.stop_gradient(quantized - z)
