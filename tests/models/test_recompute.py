"""Activations that are computed again give the same gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.config import (
    EncoderConfig,
    ImageShape,
    ModelConfig,
    NetworkConfig,
    PriorConfig,
    QuantizerConfig,
)
from models.priors import GatedPixelCNN
from models.vqvae import VQVAE

NETWORK = NetworkConfig(
    image=ImageShape(height=8, width=8, channels=1),
    model=ModelConfig(
        encoder=EncoderConfig(downsampling=2, hidden_units=8, residual_units=4),
        quantizer=QuantizerConfig(num_codes=8, embedding_dim=4),
    ),
)


RESNET = NETWORK.model_copy(
    update={
        "model": NETWORK.model.model_copy(
            update={
                "encoder": EncoderConfig(
                    kind="resnet",
                    downsampling=2,
                    hidden_units=8,
                    residual_blocks=0,
                    attention_at=(2,),
                )
            }
        )
    }
)


def vqvae(recompute: bool, network: NetworkConfig = NETWORK):
    model = VQVAE(network, 0.1, 1, recompute)
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype("uint8"))
    return model, lambda: model(images, training=True)["loss"]


def resnet(recompute: bool):
    return vqvae(recompute, RESNET)


def prior(recompute: bool):
    model = GatedPixelCNN(PriorConfig(layers=3, hidden_units=8), 8, 3, (4, 4), 1, recompute)
    codes = tf.constant(np.random.default_rng(0).integers(0, 8, (4, 4, 4)).astype("int32"))
    key = tf.constant([3, 4], tf.int64)
    return model, lambda: -tf.reduce_mean(model.log_prob(codes, tf.constant([0, 1, 2, -1]), key))


def gradients(make, recompute: bool, **compiled):
    model, loss = make(recompute)

    @tf.function(**compiled)
    def step():
        with tf.GradientTape() as tape:
            value = loss()
        return [value, *tape.gradient(value, [each.value for each in model.trainable_variables])]

    twice = str(step.get_concrete_function().graph.as_graph_def()).count('op: "Conv2D"')
    return twice, [each.numpy() for each in map(tf.convert_to_tensor, step())]


@pytest.mark.parametrize(
    ("make", "rounding"),
    [(vqvae, 0.0), (prior, 0.0), (resnet, 1e-4)],  # the last is fused differently
)
def test_the_gradient_is_the_same(make, rounding):
    plain, expected = gradients(make, recompute=False)
    more, found = gradients(make, recompute=True)
    assert more > plain
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, rtol=rounding, atol=rounding)


def test_it_compiles_with_xla():
    _, expected = gradients(vqvae, recompute=False)
    _, found = gradients(vqvae, recompute=True, jit_compile=True)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
