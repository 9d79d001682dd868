"""Exported models with every kind of quantizer, and with several codes per position."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from components.trainer.records import parse_images
from models.config import NetworkConfig, PriorConfig
from models.export import export_release, export_vqvae, restore_vqvae
from models.images import preprocess_images
from models.medium import image_medium
from models.priors import GatedPixelCNN
from models.vqvae import VQVAE

QUANTIZERS = {
    "gradient, 3 groups": {"kind": "gradient", "num_codes": 8, "embedding_dim": 6, "groups": 3},
    "simvq": {"kind": "simvq", "num_codes": 8, "embedding_dim": 4},
    "ema, depth 2": {"num_codes": 8, "embedding_dim": 4, "depth": 2},
    "fsq": {"kind": "fsq", "levels": (4, 3)},
}


@pytest.fixture(scope="module", params=QUANTIZERS)
def released(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("released")
    config = NetworkConfig.model_validate(
        {
            "image": {"height": 8, "width": 8, "channels": 1},
            "model": {
                "encoder": {"downsampling": 4, "hidden_units": 4, "residual_blocks": 0},
                "quantizer": QUANTIZERS[request.param],
            },
        }
    )
    vqvae = VQVAE(config, data_variance=0.1, seed=2)
    settings = PriorConfig(layers=1, hidden_units=4, head_units=4)
    prior = GatedPixelCNN(settings, vqvae.quantizer.num_codes, 2, config.code_shape)
    export_release(
        vqvae,
        prior,
        medium=image_medium(lambda images: preprocess_images(images, config.image.hwc)),
        preprocess_resources=tf.Module(),
        parse=parse_images(config.image),
        combined=str(folder / "combined"),
        release=str(folder / "release"),
    )
    return config, vqvae, tf.saved_model.load(str(folder / "combined")), folder


def test_signatures_carry_codes_of_the_same_shape(released):
    config, vqvae, loaded, folder = released
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), "uint8")
    codes = loaded.signatures["pixels"](images=tf.constant(images))["codes"]
    assert codes.shape == (3, *config.code_shape)
    decoded = loaded.signatures["decode"](codes=codes)["images"]
    np.testing.assert_array_equal(decoded, vqvae.decode(vqvae.encode(images)))
    drawn = loaded.signatures["sample"](
        labels=tf.constant([-1, 1]), seed=tf.constant(3, tf.int64), temperature=tf.constant(1.0)
    )
    assert drawn["codes"].shape == (2, *config.code_shape)
    assert drawn["codes"].numpy().max() < vqvae.quantizer.num_codes
    with pytest.raises(tf.errors.InvalidArgumentError, match="codes must be 0 to"):
        loaded.signatures["decode"](codes=codes + vqvae.quantizer.num_codes)
    facts = json.loads((folder / "release" / "model.json").read_text())
    assert facts["code_shape"] == list(config.code_shape)
    assert facts["num_codes"] == vqvae.quantizer.num_codes


def test_every_code_of_an_image_is_evaluated(released):
    config, vqvae, loaded, _ = released
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 1), "uint8")
    example = tf.train.Example()
    example.features.feature["image"].bytes_list.value.append(image.tobytes())
    example.features.feature["label"].int64_list.value.append(-1)
    outputs = loaded.signatures["evaluate"](examples=tf.constant([example.SerializeToString()] * 2))
    assert outputs["codes"].shape == (2, np.prod(config.code_shape))
    assert outputs["prior_bits"].shape == (2,)
    np.testing.assert_array_equal(outputs["codebooks"], config.model.quantizer.depth)
    # An untrained prior is close to uniform over all codes.
    uniform = np.prod(config.code_shape) * np.log2(vqvae.quantizer.num_codes)
    np.testing.assert_allclose(outputs["prior_bits"], uniform, rtol=0.2)


def test_weights_come_back(released, tmp_path):
    config, vqvae, _, _ = released
    export_vqvae(vqvae, str(tmp_path / "vqvae"))
    other = VQVAE(config, data_variance=0.1, seed=5)
    restore_vqvae(other, str(tmp_path / "vqvae"))
    images = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 1), "uint8")
    np.testing.assert_array_equal(other.encode(images), vqvae.encode(images))
    np.testing.assert_array_equal(other.quantizer.codebook(), vqvae.quantizer.codebook())
