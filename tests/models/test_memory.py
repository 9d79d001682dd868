"""Batches outside of training are bounded in bytes."""

from __future__ import annotations

import pytest

from models.config import (
    DecoderConfig,
    EncoderConfig,
    ImageShape,
    ModelConfig,
    NetworkConfig,
    PriorConfig,
    QuantizerConfig,
)
from models.memory import codes_at_once, images_at_once


def network(side, likelihood="gaussian", num_codes=512, downsampling=4, channels=3):
    return NetworkConfig(
        image=ImageShape(height=side, width=side, channels=channels),
        model=ModelConfig(
            encoder=EncoderConfig(downsampling=downsampling),
            quantizer=QuantizerConfig(num_codes=num_codes),
            decoder=DecoderConfig(likelihood=likelihood),
        ),
    )


def test_small_images_are_taken_by_the_hundred():
    assert images_at_once(network(32), PriorConfig()) == 256


@pytest.mark.parametrize(
    ("large", "bytes_each"),
    [
        (network(256, "categorical"), 256 * 256 * 3 * 256 * 4),
        (network(512, "logistic_mixture"), 512 * 512 * 100 * 4),
        (network(512), 256 * 256 * 128 * 4),
    ],
)
def test_the_largest_tensor_stays_below_256_mebibytes(large, bytes_each):
    assert 1 <= images_at_once(large) * bytes_each <= 2**28


def test_a_large_codebook_bounds_the_prior():
    logits = 32 * 32 * 65_536 * 4
    at_once = codes_at_once(PriorConfig(), (32, 32), 65_536)
    assert 1 <= at_once * logits <= 2**28
    assert images_at_once(network(128, num_codes=65_536), PriorConfig()) == at_once


def test_wide_stacks_and_hidden_layers_count_too():
    # 2²⁸ bytes an image: the two stacks of a prior with few codes.
    assert codes_at_once(PriorConfig(hidden_units=4096), (32, 32), 2) == 1
    # 2²⁷: hidden layers at half of each side, while a grey pixel has one parameter.
    wide = network(256).model_copy(
        update={"model": ModelConfig(encoder=EncoderConfig(hidden_units=512))}
    )
    assert images_at_once(wide) == 2


@pytest.mark.parametrize(
    ("encoder", "decoder", "bytes_each"),
    [
        # The first layer halves the rows only.
        ({"downsampling": [4, 1]}, {}, 128 * 256 * 128 * 4),
        ({}, {"hidden_units": 256}, 128 * 128 * 256 * 4),
        # A residual network works at the images' resolution, and what is doubled to it has the
        # channels of the next.
        ({"kind": "resnet"}, {}, 256 * 256 * 128 * 4),
        ({"kind": "resnet", "channel_multipliers": [1, 4, 4]}, {}, 256 * 256 * 512 * 4),
        # 64 × 64 positions that attend to each other.
        ({"kind": "resnet", "hidden_units": 8, "attention_at": [4]}, {}, 64**4 * 4),
        ({"kind": "resnet", "hidden_units": 8}, {"attention_at": [4]}, 64**4 * 4),
    ],
)
def test_every_kind_of_network_counts_what_it_makes(encoder, decoder, bytes_each):
    sizes = {"height": 256, "width": 256, "channels": 1}
    model = {"encoder": encoder, "decoder": decoder}
    config = NetworkConfig.model_validate({"image": sizes, "model": model})
    assert images_at_once(config) == max(1, 2**28 // (4 * bytes_each))


def test_never_none():
    assert images_at_once(network(2048, "categorical"), PriorConfig()) == 1
