"""The VQ-VAE as a whole."""

import numpy as np
import pytest
import tensorflow as tf

from models.config import EncoderConfig, ImageShape, ModelConfig, NetworkConfig, QuantizerConfig
from models.networks import paper
from models.vqvae import VQVAE


def network(downsampling=4, height=16, width=24, channels=3, **quantizer) -> NetworkConfig:
    return NetworkConfig(
        image=ImageShape(height=height, width=width, channels=channels),
        model=ModelConfig(
            encoder=EncoderConfig(downsampling=downsampling, hidden_units=8, residual_units=4),
            quantizer=QuantizerConfig(**{"num_codes": 16, "embedding_dim": 4, **quantizer}),
        ),
    )


def images(count, config, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *config.image.hwc), "uint8")


@pytest.mark.parametrize("downsampling", [2, 4, 8])
def test_shapes(downsampling):
    config = network(downsampling)
    vqvae, batch = VQVAE(config, 0.1), images(2, config)
    codes = vqvae.encode(batch)
    assert codes.shape == (2, 16 // downsampling, 24 // downsampling)
    assert vqvae.decode(codes).shape == batch.shape
    assert vqvae.decode(codes).dtype == "uint8"


@pytest.mark.parametrize(("first_units", "channels"), [(None, 4), (8, 8)])
def test_the_first_layer_is_half_as_wide_unless_told(first_units, channels):
    config = EncoderConfig(downsampling=8, hidden_units=8, first_units=first_units)
    encoder = paper.Encoder(config, embedding_dim=3)
    encoder(np.zeros([1, 16, 16, 3], "float32"))
    assert [layer.kernel.shape[-1] for layer in encoder.strided] == [channels, 8, 8]


@pytest.mark.parametrize("kind", ["ema", "gradient", "simvq", "fsq"])
@pytest.mark.parametrize(
    "several", [{}, {"groups": 2}, {"depth": 2}], ids=["one", "groups", "depth"]
)
def test_every_quantizer_trains_the_encoder(kind, several):
    if kind == "fsq" and "depth" in several:
        pytest.skip("refused")
    config = network(kind=kind, levels=(5, 5), **several)
    vqvae, batch = VQVAE(config, 0.1), images(2, config)
    with tf.GradientTape() as tape:
        outputs = vqvae(batch, training=True)
    assert outputs["codes"].shape[1:] == config.code_shape
    gradients = tape.gradient(outputs["loss"], vqvae.trainable_variables)
    assert all(np.any(tf.convert_to_tensor(gradient).numpy()) for gradient in gradients)
    terms = sum(value for name, value in outputs.items() if name.endswith("_loss"))
    np.testing.assert_allclose(outputs["loss"], terms, rtol=1e-6)
    codes = vqvae.encode(batch)
    assert vqvae.decode(codes).shape == batch.shape
    assert vqvae.measure(batch)["codes"].shape == (2, np.prod(config.code_shape))


def test_loss_is_reconstruction_plus_commitment():
    config = network()
    outputs = VQVAE(config, 0.1)(images(2, config))
    total = outputs["reconstruction_loss"] + outputs["commitment_loss"]
    np.testing.assert_allclose(outputs["loss"], total)


def test_measure_agrees_with_the_images_a_user_gets():
    config = network()
    vqvae, batch = VQVAE(config, 0.1), images(3, config)
    measured = vqvae.measure(batch)
    codes = vqvae.encode(batch)
    decoded = vqvae.decode(codes).numpy().astype("float64")
    error = ((batch - decoded) ** 2).sum((1, 2, 3)) / 255**2
    np.testing.assert_allclose(measured["squared_error"], error, rtol=1e-5)
    np.testing.assert_array_equal(measured["codes"], codes.numpy().reshape(3, -1))
    np.testing.assert_allclose(measured["pixel_sum"], batch.sum((1, 2)) / 255, rtol=1e-5)
    similarity = tf.image.ssim(batch / 255.0, decoded / 255.0, max_val=1.0)
    np.testing.assert_allclose(measured["ssim"], similarity, atol=1e-5)


def test_the_seed_decides_the_weights():
    config = network()
    first, again, other = (VQVAE(config, 0.1, seed=seed) for seed in (1, 1, 2))
    for a, b in zip(first.variables, again.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = (model.encoder.strided[0].kernel.numpy() for model in (first, other))
    assert np.any(next(kernels) != next(kernels))


def test_sides_that_cannot_be_downsampled_are_refused():
    with pytest.raises(ValueError, match="18x24 cannot be downsampled by 4"):
        network(height=18)
