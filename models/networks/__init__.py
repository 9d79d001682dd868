"""Encoder and decoder: images to vectors at the positions of codes, and back."""

from __future__ import annotations

import keras

from models.config import ModelConfig
from models.networks import paper, resnet

_MODULES = {"paper": paper, "resnet": resnet}


def build_encoder(config: ModelConfig, recompute: bool = False) -> keras.layers.Layer:
    """The encoder that a configuration names, `[N, H, W, C]` -> z_e(x) `[N, h, w, D]`.

    Args:
        config: kind and sizes.
        recompute: keep only the inputs of the residual blocks for the gradient.
    """
    module = _MODULES[config.encoder.kind]
    return module.Encoder(config.encoder, config.quantizer.embedding_dim, recompute)


def build_decoder(
    config: ModelConfig, outputs: int, recompute: bool = False, num_classes: int = 0
) -> keras.layers.Layer:
    """Its decoder, `[N, h, w, D]` -> `[N, H, W, outputs]`, with labels `[N]` if it takes them.

    Args:
        config: kind and sizes.
        outputs: numbers per pixel that the likelihood needs.
        recompute: as above.
        num_classes: labels that it knows; 0 for one that takes none.
    """
    module = _MODULES[config.encoder.kind]
    return module.Decoder(config.decoder_network, outputs, recompute, num_classes)


def largest_activation(config: ModelConfig, height: int, width: int) -> int:
    """Numbers in the largest tensor inside both, for an image of `height` × `width` pixels."""
    largest = _MODULES[config.encoder.kind].largest_activation
    return max(largest(each, height, width) for each in (config.encoder, config.decoder_network))


def reach(config: ModelConfig) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """How far the encoder and the decoder see.

    Returns:
        For each the rows and columns of codes on every side that decide a code, or the pixels of
        a code; None where all of an image does.
    """
    of_kind = _MODULES[config.encoder.kind].reach
    encoder = None if config.encoder.instance_norm else of_kind(config.encoder)
    return encoder, of_kind(config.decoder_network)
