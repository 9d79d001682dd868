"""A release of untrained networks as the prior's Trainer exports it, for tests of what is in it."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from components.trainer.records import parse_images
from models.config import NetworkConfig, PriorConfig
from models.export import export_release
from models.images import preprocess_images
from models.prior import GatedPixelCNN
from models.vqvae import VQVAE

CLASSES = 3


def network(**quantizer: object) -> NetworkConfig:
    """8 × 8 RGB images to 4 × 4 codes."""
    return NetworkConfig.model_validate(
        {
            "image": {"height": 8, "width": 8, "channels": 3},
            "model": {
                "encoder": {"downsampling": 2, "hidden_units": 4, "residual_blocks": 1},
                "quantizer": quantizer or {"num_codes": 8, "embedding_dim": 4},
            },
        }
    )


def export(folder: Path, vqvae: VQVAE) -> Path:
    """Writes `combined` and `release` with a prior that draws all codes alike; the latter."""
    config = vqvae.config
    prior = GatedPixelCNN(
        PriorConfig(layers=1, hidden_units=4, head_units=4),
        vqvae.quantizer.num_codes,
        CLASSES,
        config.code_shape,
    )
    export_release(
        vqvae,
        prior,
        preprocess=lambda images: preprocess_images(images, config.image.hwc),
        preprocess_resources=tf.Module(),
        parse=parse_images(config.image),
        combined=str(folder / "combined"),
        release=str(folder / "release"),
    )
    return folder / "release"
