"""Typed settings of the two trainings: the `training` section of a configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.config import NetworkConfig, Positive, PriorConfig, Section


class StageConfig(Section):
    """One training: the VQ-VAE's or the prior's."""

    # Optimisation steps.
    steps: Positive = 10_000
    # Images per step, over all replicas. Default 128.
    batch_size: Positive = 128
    # Adam's step size. Default 3e-4.
    learning_rate: Annotated[float, Field(gt=0.0)] = 3e-4
    # Share of the steps in which the learning rate rises from 0. Default 0.02.
    warmup: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.02
    # Learning rate at the last step as a share of `learning_rate` (cosine). Default 0.1.
    final_learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    # Largest global norm of the gradient; larger ones are scaled down. Default 1.
    gradient_clip: Annotated[float, Field(gt=0.0)] = 1.0
    # Optimisation steps between two evaluations on the held-out split. Default 1,000.
    evaluate_every: Positive = 1_000
    # Optimisation steps between two checkpoints. Default 1,000.
    checkpoint_every: Positive = 1_000


class TrainingConfig(Section):
    """Both trainings."""

    # Seed of the weights, the order of the images and the dropout.
    seed: int = 0
    # Decoded data up to this size is kept in memory, more is streamed. MiB, default 1,024.
    cache_mib: Annotated[int, Field(ge=0)] = 1024
    vqvae: StageConfig = StageConfig()
    prior: StageConfig = StageConfig()


class VQVAESettings(Section):
    """What the Trainer of the VQ-VAE is given; nothing else decides its result."""

    network: NetworkConfig
    stage: StageConfig
    seed: int
    cache_mib: int
    jit_compile: bool | Literal["auto"]
    code_version: str
    # Directory in which checkpoints of all trainings are kept.
    checkpoints: str


class PriorSettings(VQVAESettings):
    """What the Trainer of the prior is given."""

    prior: PriorConfig
