"""How many images the networks may be given at once, outside of training.

Estimates from the configuration, so that evaluation, tokenization and the start of the codebook
are bounded in bytes: 256 images of 32×32 in grey take a few MiB, 256 of 256×256 in colour with a
categorical likelihood would take 51 GB.
"""

from __future__ import annotations

import math

from models.config import NetworkConfig, PriorConfig
from models.likelihoods import build_likelihood

# What the activations of one call may take, about: 1 GiB.
_BUDGET = 2**30
# More images at once are no faster.
_MOST = 256
_FLOAT = 4  # bytes
# Tensors of the largest size that exist at a time: what a layer reads, what it makes, and what
# its arithmetic needs meanwhile.
_ALIVE = 4


def images_at_once(network: NetworkConfig, prior: PriorConfig | None = None) -> int:
    """Images for `VQVAE.measure`, and for `log_prob` of their codes where `prior` is given."""
    height, width, channels = network.image.hwc
    # The parameters of the pixels, a hidden layer at half of each side, or the products of SSIM.
    outputs = build_likelihood(network.model.decoder, channels, 1.0).outputs_per_pixel
    hidden = network.model.encoder.hidden_units / 4
    at_once = _bounded(math.ceil(height * width * max(outputs, hidden, 4 * channels)))
    if prior is not None:
        num_codes = network.model.quantizer.num_codes
        at_once = min(at_once, codes_at_once(prior, network.code_shape, num_codes))
    return at_once


def codes_at_once(prior: PriorConfig, code_shape: tuple[int, ...], num_codes: int) -> int:
    """Images whose codes the prior's `log_prob` may be given."""
    rows, columns = code_shape[:2]
    stacks = rows * columns * 4 * prior.hidden_units
    return _bounded(max(math.prod(code_shape) * num_codes, stacks))


def _bounded(largest: int) -> int:
    """Images, where the largest tensor has so many numbers for each."""
    return max(1, min(_MOST, _BUDGET // (largest * _FLOAT * _ALIVE)))
