"""Trainings for a machine's GPUs: networks of two sizes, on data that are made up.

The loop and the objectives are the pipeline's own; images and codes are random, and in memory.
"""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import tensorflow as tf

from components import features
from components.trainer.config import StageConfig
from components.trainer.loop import Computing, Places, fit
from components.trainer.prior import PriorObjective
from components.trainer.progress import LOGGER, Progress
from components.trainer.strategy import build_strategy
from components.trainer.vqvae import VQVAEObjective
from models.config import (
    EncoderConfig,
    ImageShape,
    ModelConfig,
    NetworkConfig,
    PriorConfig,
    QuantizerConfig,
)
from models.device import has_gpu
from models.precision import precision
from models.priors import GatedPixelCNN
from models.vqvae import VQVAE

CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Size:
    """How large all that is trained is."""

    side: int  # pixels of an image
    units: int  # channels of the networks
    layers: int  # of the prior
    batch: int
    timed: int  # steps of which the speed is measured

    @property
    def network(self) -> NetworkConfig:
        # Nothing is drawn at random: XLA draws other numbers from the same seed.
        quantizer = QuantizerConfig(restart_threshold=0.0, kmeans_iterations=0)
        encoder = EncoderConfig(hidden_units=self.units, residual_units=max(1, self.units // 4))
        return NetworkConfig(
            image=ImageShape(height=self.side, width=self.side, channels=3),
            model=ModelConfig(encoder=encoder, quantizer=quantizer),
        )

    @property
    def prior(self) -> PriorConfig:
        units = {"hidden_units": self.units // 2, "head_units": self.units}
        return PriorConfig(layers=self.layers, dropout=0.0, unconditional_fraction=0.0, **units)


USUAL = Size(side=64, units=128, layers=12, batch=64, timed=400)
SMALL = Size(side=16, units=16, layers=2, batch=16, timed=40)


class Batches:
    """A source of the same few batches, so that no input is waited for."""

    def __init__(self, rows: dict[str, np.ndarray]):
        self._rows = rows

    def batches(self, batch_size, seed, start=0, share=None, augment=None) -> tf.data.Dataset:
        part = batch_size // share.of
        own = slice(share.first * part, (share.first + share.count) * part)
        # A batch of a step, then its part for each replica of this process.
        data = tf.data.Dataset.from_tensor_slices(self._rows).repeat().batch(batch_size)
        data = data.map(lambda batch: {name: each[own] for name, each in batch.items()})
        return data.rebatch(part, drop_remainder=True).skip(start * share.count).prefetch(4)

    def once(self, batch_size: int) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(self._rows).batch(batch_size)


def images(size: Size) -> np.ndarray:
    """Smooth random images, uint8 `[4·batch, side, side, 3]`."""
    coarse = np.random.default_rng(0).uniform(0, 255, (4 * size.batch, 4, 4, 3))
    return (
        tf.image.resize(coarse, (size.side, size.side), "bicubic")
        .numpy()
        .clip(0, 255)
        .astype("uint8")
    )


def codes(size: Size) -> np.ndarray:
    shape = (4 * size.batch, *size.network.code_shape)
    # Each code is near the one before it: there is something to learn.
    steps = np.random.default_rng(1).integers(-2, 3, shape).cumsum(axis=-1)
    return (steps % size.network.model.quantizer.num_codes).astype("int32")


class Watched:
    """Keeps the loss of every report, and is evaluated and shown for nothing."""

    def describe(self, means):
        self.losses = [*getattr(self, "losses", []), float(means["loss"])]
        return super().describe(means)

    def evaluate(self, held_out):
        return {self.monitor: 0.0}

    def show(self, step):
        pass


class WatchedVQVAE(Watched, VQVAEObjective):
    """The first stage."""


class WatchedPrior(Watched, PriorObjective):
    """The second stage."""


class Speeds(logging.Handler):
    """Progress reports of a training."""

    def __init__(self):
        super().__init__()
        self.seen: list[Progress] = []

    def emit(self, record):
        if hasattr(record, "progress"):
            self.seen.append(record.progress)


def train(
    stage: str, size: Size, steps: int, folder: str, kind: str = "float32", steps_per_call=20
):
    """The objective after a training, and its progress reports."""
    strategy = build_strategy("auto")
    labels = np.arange(4 * size.batch, dtype="int32") % CLASSES
    with strategy.scope(), precision(kind):
        if stage == "vqvae":
            rows = {features.IMAGE: images(size)}
            objective = WatchedVQVAE(VQVAE(size.network, 0.1, seed=1), tf.zeros([0]))
        else:
            rows = {features.CODES: codes(size)}
            num_codes = size.network.model.quantizer.num_codes
            shape = size.network.code_shape
            objective = WatchedPrior(
                GatedPixelCNN(size.prior, num_codes, CLASSES, shape, seed=2), None, 3
            )
    source = Batches({**rows, features.LABEL: labels})
    config = StageConfig(
        **{"steps": steps, "batch_size": size.batch, "evaluate_every": steps},
        **{"checkpoint_every": steps, "warmup": 0.0, "final_learning_rate": 1.0},
    )
    speeds = Speeds()
    LOGGER.addHandler(speeds)
    places = Places(f"{folder}/{stage}", f"{folder}/logs")
    computing = Computing(has_gpu(), kind, steps_per_call)
    fit(objective, source, source, config, 0, strategy, places, computing)
    LOGGER.removeHandler(speeds)
    return objective, speeds.seen
