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
    """The prior that `config.kind` names; arguments are those of `PriorNetwork`."""
    kind = {"pixelcnn": GatedPixelCNN, "transformer": Transformer}[config.kind]
    sizes = (config, num_codes, num_classes, code_shape)
    return kind(*sizes, seed, recompute, context_channels)
