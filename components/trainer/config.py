"""Typed settings of the two trainings: the `training` section of a configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.kinds import Kind
from models.config import NetworkConfig, Positive, PriorConfig, Section

StrategyName = Literal["auto", "one_device", "mirrored", "multi_worker"]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
Precision = Literal["float32", "bfloat16", "float16"]


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
    # How the learning rate falls after that: `cosine`, `linear`, or `constant`. Default cosine.
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    # Learning rate at the last step as a share of `learning_rate`. Default 0.1.
    final_learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    # Decay, per step, of Adam's moving averages of the gradient and of its square.
    # Default 0.9, 0.999.
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    # Decoupled weight decay (AdamW): this share of a kernel's weights, times the learning rate,
    # is taken away at each step; biases and embeddings keep theirs. Default 0.
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    # Equal parts that a device computes its share of the batch in, one after the other; more of
    # them take less memory and give the same step. Default 1.
    gradient_accumulation: Positive = 1
    # Largest global norm of the gradient; larger ones are scaled down. Default 1.
    gradient_clip: Annotated[float, Field(gt=0.0)] = 1.0
    # Optimisation steps between two evaluations on the held-out split. Default 1,000.
    evaluate_every: Positive = 1_000
    # Optimisation steps between two checkpoints. Default 1,000.
    checkpoint_every: Positive = 1_000
    # Checkpoints kept besides the best one. Default 2.
    keep_checkpoints: Positive = 2
    # Evaluations in a row without a better held-out value (VQ-VAE: NMSE, prior: bits per code)
    # after which training ends and the best weights are exported; 0 trains to the last step and
    # exports the last weights. Default 0.
    patience: Annotated[int, Field(ge=0)] = 0
    # Decay, per step, of a moving average of the weights and the codebook, which is what is
    # evaluated and exported; 0 uses the weights themselves. Default 0.
    weight_ema: Decay = 0.0
    # First and last step of a profile for TensorBoard, in the logs of the training. Default none.
    profile_steps: tuple[Positive, Positive] | None = None
    # Steps in a row whose loss or gradient is no number, and which are skipped, after which
    # training stops. Default 20.
    max_skipped_steps: Positive = 20


class VQVAEStageConfig(StageConfig):
    """The training of the VQ-VAE."""

    # Mirror half of the images left to right. Not for digits or letters.
    flip: bool = False
    # Move images by up to this many pixels up, down, left and right; the edge is repeated.
    shift: Annotated[int, Field(ge=0)] = 0
    # Share of the codes that must be in use, between two evaluations, once the learning rate
    # has warmed up; with fewer the codebook has collapsed and training stops. Default 0.02.
    min_code_usage: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.02


class PriorStageConfig(StageConfig):
    """The training of the prior."""

    # Views of each training image whose codes the prior learns from: the image itself, and others
    # that differ by `flip` and `shift`. Default 1: the image itself.
    views: Positive = 1
    # Mirror every second view left to right. Not for digits or letters.
    flip: bool = False
    # Move all views but the image itself by up to this many pixels up, down, left and right; the
    # edge is repeated.
    shift: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _views_differ(self) -> PriorStageConfig:
        if self.views == 1 and (self.flip or self.shift):
            raise ValueError(
                "flip and shift change the views besides the image itself; set views to 2 or more"
            )
        if self.views > 1 and not (self.flip or self.shift):
            raise ValueError(f"all {self.views} views would be alike; set flip or shift")
        if self.views > 2 and not self.shift:
            raise ValueError("with flip alone there are 2 views; set views to 2, or shift")
        return self


class TrainingConfig(Section):
    """Both trainings."""

    # Seed of the weights, the order of the images and the dropout.
    seed: int = 0
    # Decoded data up to this size is kept in memory, more is streamed. MiB, default 1,024.
    cache_mib: Annotated[int, Field(ge=0)] = 1024
    # Streamed records that are shuffled among each other, as they lie in their files, decompressed;
    # each worker process takes about twice as much. MiB, default 128.
    shuffle_mib: Positive = 128
    # `one_device`; `mirrored`: all GPUs of this machine; `multi_worker`: all machines that
    # TF_CONFIG names. `auto`: as many of them as there are. Default auto.
    strategy: StrategyName = "auto"
    # Machines that train together, each as one worker process, on Kubeflow; a local run takes
    # them from TF_CONFIG. Default 1.
    workers: Positive = 1
    # Arithmetic of the layers; weights and codebook are float32 in any case. float16 scales the
    # loss. Default float32.
    mixed_precision: Precision = "float32"
    # Steps in one call of the compiled loop, after which progress is reported. Default 50.
    steps_per_call: Positive = 50
    # Keep of a residual block, an attention, a gated layer or a transformer block its input alone,
    # and compute what is inside again for the gradient: less memory, for more time. Default false.
    recompute: bool = False
    # `last_release` begins with the weights of the last release where their shapes fit, and says
    # so where they do not. Default none: random weights.
    warm_start: Literal["none", "last_release"] = "none"
    vqvae: VQVAEStageConfig = VQVAEStageConfig()
    prior: PriorStageConfig = PriorStageConfig()


class TrainerSettings(Section):
    """What both Trainers are given; nothing else decides their results."""

    network: NetworkConfig
    stage: StageConfig
    seed: int
    cache_mib: int
    shuffle_mib: int
    # Whether training begins with the weights of the last release, as Baseline hands it out.
    warm_start: bool
    strategy: StrategyName
    mixed_precision: Precision
    steps_per_call: Positive
    recompute: bool
    jit_compile: bool | Literal["auto"]
    deterministic: bool | Literal["auto"]
    code_version: str
    # Directory in which checkpoints of all trainings are kept.
    checkpoints: str


class VQVAESettings(TrainerSettings):
    """What the Trainer of the VQ-VAE is given."""

    stage: VQVAEStageConfig


class PriorSettings(TrainerSettings):
    """What the Trainer of the prior is given."""

    stage: PriorStageConfig
    prior: PriorConfig
    # What the release is to take and to give.
    kind: Kind
