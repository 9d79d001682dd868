"""How many images the networks may be given at once, outside of training.

Estimates from the configuration, so that evaluation, tokenization and the start of the codebook
are bounded in bytes: 256 images of 32×32 in grey take a few MiB, 256 of 256×256 in colour with a
categorical likelihood would take 51 GB.
"""

from __future__ import annotations

import math

from models.config import NetworkConfig, PriorConfig
from models.likelihoods import build_likelihood
from models.networks import largest_activation
from models.priors.block import inner_units

# What the activations of one call may take, about: 256 MiB. Of large images fewer at once are no
# slower on a CPU, whose caches hold more of them.
_BUDGET = 2**28
# More images at once are no faster.
MOST_AT_ONCE = 256
_FLOAT = 4  # bytes
# Tensors of the largest size that exist at a time: what a layer reads, what it makes, and what
# its arithmetic needs meanwhile.
_ALIVE = 4


def images_at_once(network: NetworkConfig, prior: PriorConfig | None = None) -> int:
    """Images for `VQVAE.measure`, and for `log_prob` of their codes where `prior` is given."""
    likelihood = build_likelihood(network.model.decoder, network.image.channels, 1.0)
    at_once = images_of_outputs(network, likelihood.outputs_per_pixel)
    if prior is not None:
        num_codes = network.model.quantizer.num_codes
        at_once = min(at_once, codes_at_once(prior, network.code_shape, num_codes))
    return at_once


def images_of_outputs(network: NetworkConfig, outputs_per_pixel: int) -> int:
    """Images for encoder and decoder, with so many parameters of the likelihood for a pixel."""
    height, width, channels = network.image.hwc
    # The parameters of the pixels, or the products of SSIM.
    per_pixel = max(outputs_per_pixel, 4 * channels)
    hidden = largest_activation(network.model, height, width)
    return _bounded(max(height * width * per_pixel, hidden))


def codes_at_once(prior: PriorConfig, code_shape: tuple[int, ...], num_codes: int) -> int:
    """Images whose codes the prior's `log_prob` may be given."""
    positions = math.prod(code_shape[:2])
    if prior.kind == "transformer":
        # Scores of each position for each, or what is inside of the gated layers.
        inner = positions * 2 * inner_units(prior.hidden_units)
        hidden = max(prior.heads * positions**2, inner)
    else:
        hidden = positions * 4 * prior.hidden_units
    return _bounded(max(math.prod(code_shape) * num_codes, hidden))


def _bounded(largest: int) -> int:
    """Images, where the largest tensor has so many numbers for each."""
    return max(1, min(MOST_AT_ONCE, _BUDGET // (largest * _FLOAT * _ALIVE)))
