"""Encoder and decoder of every kind: shapes, sizes, weights, and that they learn."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.config import EncoderConfig, NetworkConfig
from models.export import export_vqvae, restore_vqvae
from models.networks import build_decoder, build_encoder
from models.vqvae import VQVAE

PAPER = {"hidden_units": 8, "residual_units": 4, "residual_blocks": 1}
RESNET = {"kind": "resnet", "hidden_units": 8, "residual_blocks": 0}


def network(
    encoder: dict, decoder: dict | None = None, shape: tuple[int, int, int] = (16, 32, 3)
) -> NetworkConfig:
    quantizer = {"num_codes": 16, "embedding_dim": 4}
    return NetworkConfig.model_validate(
        {
            "image": dict(zip(("height", "width", "channels"), shape, strict=True)),
            "model": {"encoder": encoder, "decoder": decoder or {}, "quantizer": quantizer},
        }
    )


def images(count: int, config: NetworkConfig) -> np.ndarray:
    """Of two colours each, divided somewhere."""
    rng = np.random.default_rng(0)
    pixels = np.empty([count, *config.image.hwc], "uint8")
    for image in pixels:
        place = rng.integers(1, config.image.width)
        image[:, :place], image[:, place:] = rng.integers(0, 256, [2, config.image.channels])
    return pixels


@pytest.mark.parametrize(
    ("encoder", "grid"),
    [
        ({**PAPER, "downsampling": 16}, (1, 2)),
        ({**PAPER, "downsampling": [4, 32]}, (4, 1)),
        ({**PAPER, "downsampling": [1, 2]}, (16, 16)),
        ({**PAPER, "downsampling": [8, 2]}, (2, 16)),
        ({**RESNET, "downsampling": 2}, (8, 16)),
        ({**RESNET, "downsampling": [1, 8], "attention_at": [8]}, (16, 4)),
    ],
)
def test_each_axis_has_its_own_downsampling(encoder, grid):
    config = network(encoder)
    assert config.code_grid == grid
    vqvae, batch = VQVAE(config, 0.1), images(2, config)
    codes = vqvae.encode(batch)
    assert codes.shape == (2, *grid)
    assert vqvae.decode(codes).shape == batch.shape


def test_an_axis_is_halved_while_it_has_factors_left():
    assert EncoderConfig(downsampling=[4, 16]).strides == ((2, 2), (2, 2), (1, 2), (1, 2))
    assert EncoderConfig(downsampling=[2, 1]).strides == ((2, 1),)
    assert EncoderConfig(downsampling=[8, 8]) == EncoderConfig(downsampling=8)


# Of each weight the sum of its absolute values, times its place, added up; as it was before an
# axis could have a factor of its own.
@pytest.mark.parametrize(
    ("downsampling", "first_units", "total"),
    [(2, None, 6049.59231908), (4, None, 9640.42640660), (8, 6, 13669.33776235)],
)
def test_one_factor_gives_the_weights_that_it_always_gave(downsampling, first_units, total):
    sizes = {"hidden_units": 8, "residual_units": 4, "first_units": first_units}
    vqvae = VQVAE(network({**sizes, "downsampling": downsampling}), 0.1, seed=1)
    sums = [np.abs(weight.numpy(), dtype="float64").sum() for weight in vqvae.variables]
    found = sum(place * each for place, each in enumerate(sums, start=1))
    np.testing.assert_allclose(found, total, rtol=1e-6)


@pytest.mark.parametrize(
    ("encoder", "sizes"),
    [
        (PAPER, {"hidden_units": 12, "residual_blocks": 3, "residual_units": 5}),
        (RESNET, {"hidden_units": 12, "residual_blocks": 1}),
        (RESNET, {"channel_multipliers": [1, 2, 3], "attention_at": [4]}),
    ],
)
def test_the_decoder_has_sizes_of_its_own(encoder, sizes):
    def shapes(config: NetworkConfig) -> list:
        decoder = build_decoder(config.model, 3)
        decoder(np.zeros([1, 2, 3, 4], "float32"))
        return [weight.shape for weight in decoder.variables]

    own = network(encoder, sizes)
    assert own.model.encoder == network(encoder).model.encoder
    assert shapes(own) == shapes(network({**encoder, **sizes})) != shapes(network(encoder))


@pytest.mark.parametrize(("places", "count"), [([], 0), ([1], 2), ([4], 3)])
def test_attention_is_where_it_is_named(places, count):
    sizes = {**RESNET, "residual_blocks": 2, "downsampling": [2, 4], "attention_at": places}
    encoder = build_encoder(network(sizes).model)
    encoder(np.zeros([1, 4, 4, 3], "float32"))
    attending = sum("attention" in weight.path for weight in encoder.variables)
    assert attending == 10 * count


@pytest.mark.parametrize(
    "encoder",
    [
        {**PAPER, "downsampling": [4, 2]},
        {**RESNET, "downsampling": [1, 4], "attention_at": [4]},
    ],
    ids=["paper", "resnet"],
)
def test_twenty_steps_reduce_the_loss(encoder):
    config = network(encoder)
    vqvae, batch = VQVAE(config, 0.1, seed=1), tf.constant(images(8, config))
    vqvae.quantizer.initialize(vqvae.encodings(batch))
    optimizer = keras.optimizers.Adam(5e-3)
    optimizer.build(vqvae.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = vqvae(batch)["loss"]
        gradients = tape.gradient(loss, vqvae.trainable_variables)
        optimizer.apply(gradients, vqvae.trainable_variables)
        return loss

    losses = [float(step()) for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_request_of_many_images_is_computed_in_parts(count, monkeypatch):
    config = network(PAPER)
    vqvae, batch = VQVAE(config, 0.1, seed=1), images(count, config)
    codes = vqvae.encode(batch)
    pictures = vqvae.decode(codes)
    monkeypatch.setattr("models.vqvae.images_of_outputs", lambda *_: 3)
    monkeypatch.setattr(vqvae, "encodings", checked := Checked(vqvae.encodings))
    np.testing.assert_array_equal(vqvae.encode(batch), codes)
    spec = tf.TensorSpec([None, *config.image.hwc], tf.uint8)
    traced = tf.function(vqvae.encode, input_signature=[spec])
    np.testing.assert_array_equal(traced(batch), codes)
    np.testing.assert_array_equal(vqvae.decode(codes), pictures)
    assert 1 <= max(checked.counts) <= 3


class Checked:
    """A function that keeps in mind how many rows it was given."""

    def __init__(self, function):
        self._function, self.counts = function, []

    def __call__(self, rows):
        if rows.shape[0] is not None:
            self.counts.append(rows.shape[0])
        return self._function(rows)


def test_what_is_exported_encodes_as_the_network_does(tmp_path, monkeypatch):
    monkeypatch.setattr("models.vqvae.images_of_outputs", lambda *_: 2)
    sizes = {**RESNET, "downsampling": [1, 2], "attention_at": [2]}
    config = network(sizes, {"hidden_units": 4}, shape=(4, 8, 3))
    vqvae, batch = VQVAE(config, 0.1, seed=3), images(3, config)
    export_vqvae(vqvae, str(tmp_path))
    signature = tf.saved_model.load(str(tmp_path)).signatures["pixels"]
    codes = signature(images=tf.constant(batch))["codes"]
    np.testing.assert_array_equal(codes, vqvae.encode(batch))
    again = VQVAE(config, 0.1, seed=4)
    restore_vqvae(again, str(tmp_path))
    np.testing.assert_array_equal(again.decode(codes), vqvae.decode(codes))
