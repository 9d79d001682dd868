"""Quantizers: what turns the encoder's vectors into codes, selected by `model.quantizer.kind`."""

from __future__ import annotations

from models.config import QuantizerConfig
from models.quantizers.ema import EMAQuantizer
from models.quantizers.fsq import FiniteScalarQuantizer
from models.quantizers.gradient import GradientQuantizer
from models.quantizers.interface import Quantized, Quantizer

__all__ = [
    "EMAQuantizer",
    "FiniteScalarQuantizer",
    "GradientQuantizer",
    "Quantized",
    "Quantizer",
    "build_quantizer",
]


def build_quantizer(config: QuantizerConfig, seed: int = 0) -> Quantizer:
    """The quantizer that `config.kind` names."""
    if config.kind == "fsq":
        return FiniteScalarQuantizer(config)
    kinds = {"ema": EMAQuantizer, "gradient": GradientQuantizer}
    return kinds[config.kind](config, seed=seed)
