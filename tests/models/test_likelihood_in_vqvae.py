"""Every likelihood as part of a VQ-VAE: training, measuring, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.config import (
    DecoderConfig,
    EncoderConfig,
    ImageShape,
    ModelConfig,
    NetworkConfig,
    QuantizerConfig,
)
from models.export import export_vqvae, restore_vqvae
from models.vqvae import VQVAE

KINDS = ("gaussian", "categorical", "logistic_mixture")


def network(kind, channels=3):
    return NetworkConfig(
        image=ImageShape(height=8, width=12, channels=channels),
        model=ModelConfig(
            encoder=EncoderConfig(hidden_units=16, residual_units=8),
            quantizer=QuantizerConfig(num_codes=16, embedding_dim=4),
            decoder=DecoderConfig(likelihood=kind, mixture_components=4),
        ),
    )


def images(count, channels=3):
    """Smooth colour gradients, a hue for each image."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 8)[:, None, None] * np.linspace(0, 1, 12)[:, None]
    return (255 * ramp * rng.random((count, 1, 1, channels))).astype("uint8")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_parts_of_the_loss(kind, channels):
    vqvae, batch = VQVAE(network(kind, channels), 0.1), images(3, channels)
    outputs = vqvae(batch)
    total = outputs["reconstruction_loss"] + outputs["commitment_loss"]
    np.testing.assert_allclose(outputs["loss"], total)
    measured = vqvae.measure(batch)
    assert measured["decoder_bits"].shape == (3,)
    decoded = vqvae.decode(vqvae.encode(batch))
    assert decoded.shape == batch.shape
    error = ((batch - decoded.numpy().astype("float64")) ** 2).sum((1, 2, 3)) / 255**2
    np.testing.assert_allclose(measured["squared_error"], error, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_bits_and_error(kind):
    vqvae, batch = VQVAE(network(kind), 0.1), tf.constant(images(16))
    vqvae.quantizer.initialize(vqvae.encodings(batch))
    optimizer = keras.optimizers.Adam(3e-3)
    optimizer.build(vqvae.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            outputs = vqvae(batch, training=True)
        gradients = tape.gradient(outputs["loss"], vqvae.trainable_variables)
        gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
        optimizer.apply(gradients)
        for variable, value in vqvae.updates(outputs, outputs["statistics"]):
            variable.assign(value)
        return outputs["loss"]

    before = vqvae.measure(batch)
    losses = [float(step()) for _ in range(60)]
    after = vqvae.measure(batch)
    assert np.isfinite(losses).all()
    for name in ("decoder_bits", "squared_error"):
        assert tf.reduce_sum(after[name]) < 0.8 * tf.reduce_sum(before[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_model_measures_the_same(kind, tmp_path):
    config, batch = network(kind), images(5)
    vqvae = VQVAE(config, 0.1, seed=1)
    outputs = vqvae(batch, training=True)
    for variable, value in vqvae.updates(outputs, outputs["statistics"]):
        variable.assign(value)
    export_vqvae(vqvae, str(tmp_path / "model"))
    restored = VQVAE(config, 1.0, seed=2)
    restore_vqvae(restored, str(tmp_path / "model"))
    expected = vqvae.measure(batch)
    for name, value in restored.measure(batch).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_is_close_to_float32(kind):
    batch = images(8)
    expected = VQVAE(network(kind), 0.1)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = VQVAE(network(kind), 0.1)
    finally:
        keras.config.set_dtype_policy("float32")
    # The codes of either would do; only the decoder is compared.
    codes = expected.encode(batch)
    wide, narrow = expected.parameters(codes), mixed.parameters(codes)
    assert mixed.decoder.residual[0](tf.zeros([1, 2, 2, 16])).dtype == tf.bfloat16
    assert narrow.dtype == tf.float32  # 16 bits would be half a grey level
    for method in ("bits", "loss"):
        values = [
            getattr(m.likelihood, method)(batch, p) for m, p in ((expected, wide), (mixed, narrow))
        ]
        assert values[1].dtype == tf.float32
        np.testing.assert_allclose(values[1], values[0], rtol=0.02)
