"""Settings of a Trainer, as the pipeline makes them, for tests that name what matters to them."""

from __future__ import annotations

from components.trainer.config import VQVAESettings, VQVAEStageConfig
from models.config import EncoderConfig, ImageShape, ModelConfig, NetworkConfig, QuantizerConfig

NETWORK = NetworkConfig(
    image=ImageShape(height=8, width=8, channels=1),
    model=ModelConfig(
        encoder=EncoderConfig(downsampling=2, hidden_units=8, residual_units=4),
        quantizer=QuantizerConfig(num_codes=8, embedding_dim=4),
    ),
)


def vqvae_settings(**changes) -> VQVAESettings:
    usual = {
        "network": NETWORK,
        "stage": VQVAEStageConfig(),
        "seed": 0,
        "cache_mib": 64,
        "shuffle_mib": 64,
        "warm_start": None,
        "strategy": "one_device",
        "mixed_precision": "float32",
        "steps_per_call": 50,
        "recompute": False,
        "jit_compile": False,
        "deterministic": "auto",
        "code_version": "test",
        "checkpoints": "",
    }
    return VQVAESettings(**usual | changes)
