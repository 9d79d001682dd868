"""Trains both stages and writes their loss curves and their state on every replica.

    python replica_program.py OUT FLOATX STEPS DEVICES...

DEVICES are numbers of logical CPU devices to train on, one after the other (1 and another: a
process has one group of devices); with TF_CONFIG set,
the workers that it names train together instead. A process of its own, since devices and workers
are made before TensorFlow does anything.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from components import features
from components.trainer.config import StageConfig
from components.trainer.loop import Computing, Places, fit
from components.trainer.prior import PriorObjective
from components.trainer.progress import LOGGER
from components.trainer.records import parse_codes, parse_images
from components.trainer.source import Source
from components.trainer.strategy import build_strategy
from components.trainer.vqvae import VQVAEObjective, place_codebook
from models.config import (
    EncoderConfig,
    ImageShape,
    ModelConfig,
    NetworkConfig,
    PriorConfig,
    QuantizerConfig,
)
from models.prior import GatedPixelCNN
from models.vqvae import VQVAE

SHAPE = ImageShape(height=8, width=8, channels=1)
NETWORK = NetworkConfig(
    image=SHAPE,
    model=ModelConfig(
        encoder=EncoderConfig(downsampling=2, hidden_units=8, residual_units=4),
        # Many codes and a high threshold, so that codes are restarted all the time.
        quantizer=QuantizerConfig(num_codes=64, embedding_dim=4, restart_threshold=0.08),
    ),
)
CODE_SHAPE, NUM_CODES, CLASSES = (3, 3), 8, 4


class Recorded:
    """Objectives whose loss of every step is kept, and which are never evaluated."""

    def describe(self, means):
        self.losses.append(float(means["loss"]))
        return {**super().describe(means), "loss": self.losses[-1]}

    def evaluate(self, held_out):
        return {self.monitor: 0.0}

    def show(self, step):
        pass


class RecordedVQVAE(Recorded, VQVAEObjective):
    pass


class RecordedPrior(Recorded, PriorObjective):
    pass


def images(folder: str) -> Source:
    pixels = np.round(load_digits().images[:600] * 255 / 16).astype("uint8")
    return _written(f"{folder}/images.gz", features.IMAGE, pixels, parse_images(SHAPE))


def codes(folder: str) -> Source:
    rows = np.random.default_rng(0).integers(0, NUM_CODES, (300, *CODE_SHAPE)).astype("u1")
    return _written(f"{folder}/codes.gz", features.CODES, rows, parse_codes(CODE_SHAPE, NUM_CODES))


def _written(path: str, name: str, rows: np.ndarray, parse) -> Source:
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for index, row in enumerate(rows):
            example = tf.train.Example()
            example.features.feature[name].bytes_list.value.append(row.tobytes())
            example.features.feature[features.LABEL].int64_list.value.append(index % CLASSES)
            writer.write(example.SerializeToString())
    return Source([path], parse, 2**24)


def train(stage: str, strategy, steps: int, folder: str, checkpoints: str) -> dict[str, np.ndarray]:
    """Loss of every step, and every averaged variable on every replica of this process.

    `checkpoints` is one folder for all workers.
    """
    start = None
    with strategy.scope():
        if stage == "vqvae":
            source = images(folder)
            vqvae = VQVAE(NETWORK, 0.14, seed=1)
            objective = RecordedVQVAE(vqvae, tf.zeros([0]))

            def start():
                place_codebook(vqvae, source, seed=2)
        else:
            source = codes(folder)
            config = PriorConfig(layers=3, hidden_units=8, head_units=8, dropout=0.0)
            objective = RecordedPrior(
                GatedPixelCNN(config, NUM_CODES, CLASSES, CODE_SHAPE), None, 3
            )
    objective.losses = []
    config = StageConfig(
        **{"steps": steps, "batch_size": 48, "learning_rate": 3e-3, "weight_ema": 0.9},
        **{"evaluate_every": 10_000, "checkpoint_every": 10},
    )
    places = Places(checkpoints, f"{folder}/logs")
    computing = Computing(steps_per_call=1)  # the loss of each is seen
    fit(objective, source, source, config, 5, strategy, places, computing, start=start)
    found = {"losses": np.array(objective.losses)}
    for index, variable in enumerate(objective.model.variables):
        for replica, value in enumerate(getattr(variable.value, "values", [variable.value])):
            found[f"{replica}/{index:02d} {variable.name}"] = value.numpy()
    return found


def main(out: str, floatx: str, steps: str, *devices: str) -> None:
    if devices:
        cpu = tf.config.list_physical_devices("CPU")[0]
        count = max(map(int, devices))
        logical = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(cpu, logical)
    keras.config.set_floatx(floatx)
    if devices:
        strategies = {number: _strategy(int(number)) for number in devices}
    else:
        worker = f"worker {json.loads(os.environ['TF_CONFIG'])['task']['index']}"
        strategies = {worker: build_strategy("auto")}
    LOGGER.addHandler(logging.StreamHandler(sys.stdout))
    LOGGER.setLevel(logging.INFO)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    found = {}
    for name, strategy in strategies.items():
        for stage in ("vqvae", "prior"):
            checkpoints = Path(out).parent / f"{stage}-{name if devices else 'workers'}"
            with tempfile.TemporaryDirectory() as folder:
                trained = train(stage, strategy, int(steps), folder, str(checkpoints))
            found |= {f"{stage}/{name}/{key}": value for key, value in trained.items()}
    np.savez(out, **found)


def _strategy(devices: int) -> tf.distribute.Strategy:
    if devices == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(devices)])


if __name__ == "__main__":
    main(*sys.argv[1:])
