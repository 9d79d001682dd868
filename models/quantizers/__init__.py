"""Quantizers: what turns the encoder's vectors into codes, selected by `model.quantizer.kind`."""

from __future__ import annotations

from models.config import QuantizerConfig
from models.quantizers.ema import EMAQuantizer
from models.quantizers.fsq import FiniteScalarQuantizer
from models.quantizers.gradient import GradientQuantizer
from models.quantizers.interface import Quantized, Quantizer
from models.quantizers.residual import ResidualQuantizer
from models.quantizers.simvq import SimVQuantizer

__all__ = [
    "EMAQuantizer",
    "FiniteScalarQuantizer",
    "GradientQuantizer",
    "Quantized",
    "Quantizer",
    "ResidualQuantizer",
    "SimVQuantizer",
    "build_quantizer",
]


def build_quantizer(config: QuantizerConfig, seed: int = 0) -> Quantizer:
    """The quantizer that `config.kind` names; with `depth` > 1 as many of them."""
    if config.depth > 1:
        return ResidualQuantizer(config, build_quantizer, seed=seed)
    if config.kind == "fsq":
        return FiniteScalarQuantizer(config)
    kinds = {"ema": EMAQuantizer, "gradient": GradientQuantizer, "simvq": SimVQuantizer}
    return kinds[config.kind](config, seed=seed)
