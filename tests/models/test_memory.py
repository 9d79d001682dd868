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


def test_never_none():
    assert images_at_once(network(2048, "categorical"), PriorConfig()) == 1
