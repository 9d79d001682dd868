"""Normalization over time, in front of the encoder."""

from __future__ import annotations

import numpy as np
import pytest

from models.config import NetworkConfig
from models.networks import reach
from models.networks.instance_norm import normalized_over_rows
from models.vqvae import VQVAE


def network(kind: str, instance_norm: bool) -> NetworkConfig:
    encoder = {"kind": kind, "downsampling": [2, 4], "hidden_units": 8, "residual_blocks": 1}
    return NetworkConfig.model_validate(
        {
            "image": {"height": 16, "width": 4, "channels": 1},
            "model": {
                "encoder": {**encoder, "instance_norm": instance_norm},
                "quantizer": {"num_codes": 64, "embedding_dim": 4},
            },
        }
    )


def test_each_band_has_mean_0_and_variance_1():
    x = np.random.default_rng(0).normal(3.0, 2.0, (2, 50, 4, 3)).astype("float32")
    x[0, :, 1] = 0.5  # silent throughout
    expected = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 255.0**-2)
    np.testing.assert_allclose(normalized_over_rows(x), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["paper", "resnet"])
def test_codes_do_not_depend_on_the_level_of_a_band(kind):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (3, 16, 4, 1), "uint8")
    louder = images + np.array([0, 7, 30, 100], "uint8")[:, None]
    plain, normed = (VQVAE(network(kind, each), 0.1, seed=1) for each in (False, True))
    assert len(plain.variables) == len(normed.variables)
    np.testing.assert_array_equal(normed.encode(louder), normed.encode(images))
    assert np.any(plain.encode(louder) != plain.encode(images))
    np.testing.assert_array_equal(
        normed.decode(plain.encode(images)), plain.decode(plain.encode(images))
    )


def test_a_code_then_depends_on_all_of_an_image():
    assert reach(network("paper", False).model)[0] is not None
    assert reach(network("paper", True).model) == (None, reach(network("paper", False).model)[1])
