"""Priors: distributions of codes, selected by `prior.kind`."""

from __future__ import annotations

from models.config import PriorConfig
from models.priors.pixelcnn import GatedPixelCNN
from models.priors.prior import Prior
from models.priors.transformer import Transformer

__all__ = ["GatedPixelCNN", "Prior", "Transformer", "build_prior"]


def build_prior(
    config: PriorConfig,
    num_codes: int,
    num_classes: int,
    code_shape: tuple[int, ...],
    seed: int = 0,
    recompute: bool = False,
    context_channels: int = 0,
) -> Prior:
    """The prior that `config.kind` names.

    Args:
        config: kind and sizes.
        num_codes: K.
        num_classes: labels are 0 … num_classes - 1; 0 classes makes an unconditional prior.
        code_shape: `(h, w)`, rows and columns of the codes, or `(h, w, g)` with g per position.
        seed: seed of the weights.
        recompute: spend time for memory in training (`models.recompute`).
        context_channels: of the context; 0 for none.
    """
    sizes = (config, num_codes, num_classes, code_shape)
    if config.kind == "transformer":
        return Transformer(*sizes, seed, recompute, context_channels)
    return GatedPixelCNN(*sizes, seed, recompute, context_channels)
