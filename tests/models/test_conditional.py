"""Decoders that are told a label: networks, signatures, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from components import features
from components.record_files import encode_examples
from models.config import NetworkConfig
from models.export import export_vqvae, restore_vqvae
from models.networks.label_embedding import LabelEmbedding
from models.vqvae import VQVAE
from tests.fixtures import small_release

CLASSES = small_release.CLASSES
ENCODERS = {
    "paper": {"hidden_units": 8, "residual_units": 4, "residual_blocks": 1},
    "resnet": {"kind": "resnet", "hidden_units": 8, "residual_blocks": 0},
}


def network(kind: str, conditional: bool = True) -> NetworkConfig:
    return NetworkConfig.model_validate(
        {
            "image": {"height": 8, "width": 4, "channels": 1},
            "model": {
                "encoder": {**ENCODERS[kind], "downsampling": [2, 4]},
                "quantizer": {"num_codes": 16, "embedding_dim": 4},
                "decoder": {"conditional": conditional},
            },
        }
    )


def with_voices(config: NetworkConfig, seed: int = 1) -> VQVAE:
    """A network whose labels differ."""
    vqvae = VQVAE(config, 0.1, seed, num_classes=CLASSES)
    table = vqvae.decoder.label.table
    table.assign(np.random.default_rng(seed).normal(size=table.shape))
    return vqvae


def images(count: int, config: NetworkConfig) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *config.image.hwc), "uint8")


def test_a_label_has_a_vector_and_an_unknown_one_their_mean():
    layer = LabelEmbedding(3, 5)
    layer.table.assign(table := np.random.default_rng(0).normal(size=(3, 5)).astype("float32"))
    found = layer(tf.constant([2, -1, 0, 3]))
    assert found.shape == (4, 1, 1, 5)
    mean = table.mean(axis=0)
    np.testing.assert_allclose(found[:, 0, 0], [table[2], mean, table[0], mean], atol=1e-6)


@pytest.mark.parametrize("kind", ENCODERS)
def test_it_begins_as_a_decoder_without_labels(kind):
    plain = VQVAE(network(kind, conditional=False), 0.1, seed=3, num_classes=CLASSES)
    conditional = VQVAE(network(kind), 0.1, seed=3, num_classes=CLASSES)
    assert len(conditional.variables) == len(plain.variables) + 1
    batch = images(3, plain.config)
    codes = plain.encode(batch)
    np.testing.assert_array_equal(conditional.encode(batch), codes)
    found = conditional.decode(codes, tf.constant([-1, 0, 2]))
    np.testing.assert_array_equal(found, plain.decode(codes))


@pytest.mark.parametrize("kind", ENCODERS)
def test_what_is_decoded_depends_on_the_label(kind, monkeypatch):
    vqvae = with_voices(network(kind))
    codes = tf.repeat(vqvae.encode(images(1, vqvae.config)), 5, axis=0)
    labels = tf.constant([0, 1, 2, 1, -1])
    decoded = vqvae.decode(codes, labels).numpy()
    np.testing.assert_array_equal(decoded[1], decoded[3])
    assert len(np.unique(decoded, axis=0)) == 4
    monkeypatch.setattr("models.vqvae.images_of_outputs", lambda *_: 2)
    np.testing.assert_array_equal(vqvae.decode(codes, labels), decoded)


@pytest.mark.parametrize("kind", ENCODERS)
def test_labels_are_learned_and_measured_with(kind):
    vqvae = with_voices(network(kind))
    batch, labels = images(4, vqvae.config), tf.constant([0, 1, 1, -1])
    with tf.GradientTape() as tape:
        loss = vqvae(batch, training=True, labels=labels)["loss"]
    gradient = tape.gradient(loss, vqvae.decoder.label.table.value)
    assert np.all(np.any(tf.convert_to_tensor(gradient).numpy(), axis=1))
    decoded = vqvae.decode(vqvae.encode(batch), labels).numpy().astype(float)
    error = np.square((batch - decoded) / 255).sum((1, 2, 3))
    np.testing.assert_allclose(vqvae.measure(batch, labels)["squared_error"], error, rtol=1e-5)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"a conditional decoder needs num_classes\. Received: 0"):
        VQVAE(network("paper"), 0.1)
    vqvae = with_voices(network("paper"))
    with pytest.raises(ValueError, match="labels must be given"):
        vqvae.decode(vqvae.encode(images(1, vqvae.config)))


def test_weights_are_read_back(tmp_path):
    vqvae = with_voices(network("paper"))
    export_vqvae(vqvae, str(tmp_path))
    again = VQVAE(vqvae.config, 0.1, seed=9, num_classes=CLASSES)
    restore_vqvae(again, str(tmp_path))
    for own, other in zip(vqvae.variables, again.variables, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A network, and the combined SavedModel of its release."""
    folder = tmp_path_factory.mktemp("conditional")
    vqvae = with_voices(small_release.network(conditional=True))
    small_release.export(folder, vqvae)
    return vqvae, tf.saved_model.load(str(folder / "combined"))


def test_decode_takes_labels(released):
    vqvae, loaded = released
    decode = loaded.signatures["decode"]
    codes, labels = vqvae.encode(images(3, vqvae.config)), tf.constant([2, -1, 0])
    found = decode(codes=codes, labels=labels)["images"]
    np.testing.assert_array_equal(found, vqvae.decode(codes, labels))
    assert decode(codes=codes[:0], labels=labels[:0])["images"].shape == (0, 8, 8, 3)
    for wrong, message in (
        ({"labels": labels + 1}, r"labels must be -1 \(not known\) to 2"),
        ({"labels": labels[:2]}, "labels must be as many as there are codes"),
        ({"codes": codes + 8}, "codes must be 0 to 7"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            decode(**{"codes": codes, "labels": labels, **wrong})


def test_samples_are_decoded_with_the_label_that_they_are_drawn_for(released):
    vqvae, loaded = released
    labels = tf.constant([1, -1, 2])
    drawn = loaded.signatures["sample"](
        labels=labels, seed=tf.constant(3, tf.int64), temperature=tf.constant(1.0)
    )
    np.testing.assert_array_equal(drawn["images"], vqvae.decode(drawn["codes"], labels))


def test_an_image_is_measured_with_its_label(released):
    vqvae, loaded = released
    batch, labels = images(3, vqvae.config), np.array([1, -1, 7])  # the last was never seen
    examples = encode_examples({features.IMAGE: batch, features.LABEL: labels})
    found = loaded.signatures["evaluate"](examples=tf.constant(list(examples)))
    expected = vqvae.measure(batch, tf.constant([1, -1, -1]))
    np.testing.assert_allclose(found["squared_error"], expected["squared_error"], rtol=1e-6)
