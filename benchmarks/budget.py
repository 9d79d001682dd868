"""Trainings of one CPU budget: as many steps as fit into so many seconds of one core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from components.trainer.averages import Averages
from components.trainer.config import StageConfig
from components.trainer.loop import Places, fit
from components.trainer.objective import Objective
from components.trainer.optimizer import Adam
from components.trainer.run import make_reproducible
from components.trainer.source import Source
from components.trainer.steps import Steps
from components.trainer.vqvae import VQVAEObjective, place_codebook
from models.vqvae import VQVAE

_TRIES, _STEPS = 8, 3


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def on_one_core(index: int) -> None:
    """Keeps this process on one core, so that its seconds are CPU seconds; before any op."""
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {usable[index % len(usable)]})
    tf.config.threading.set_intra_op_parallelism_threads(1)


def in_processes(module: str, shares: Sequence[Sequence[str]], at_once: bool) -> list[list[Any]]:
    """Runs a benchmark once for each share; the lines of JSON that each printed.

    A share is what its `--alone` is given, behind this process's own arguments.
    """

    def started(share: Sequence[str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", module, *sys.argv[1:], "--alone", *share]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    # One by one, each is started when the one before has ended.
    processes = [started(share) for share in shares] if at_once else map(started, shares)
    ended = [(process.communicate()[0], process.returncode) for process in processes]
    if any(code for _, code in ended):
        sys.exit(f"{module}: failed")
    return [[json.loads(line) for line in printed.splitlines()] for printed, _ in ended]


def placed(vqvae: VQVAE, train: Source, seed: int) -> VQVAEObjective:
    """What trains a VQ-VAE, with its codebook placed."""
    place_codebook(vqvae, train, seed)
    return VQVAEObjective(vqvae, tf.zeros([0]))


def steps_within(
    seconds: float, objective: Objective, train: Source, batch_size: int, learning_rate: float
) -> int:
    """Steps that take so long. The network of `objective` is changed: it is for this alone.

    The fastest of some tries counts, as whatever else runs on this machine makes steps slower.
    """
    strategy = tf.distribute.get_strategy()
    stage = StageConfig(batch_size=batch_size, learning_rate=learning_rate)
    adam = Adam(stage, objective.model.trainable_variables)
    averages = Averages(objective.model, stage.weight_ema)
    steps = Steps(objective, adam, averages, strategy, stage)
    batches = iter(train.batches(batch_size, 0))
    steps.run(batches, 1)  # traced
    steps.run(batches, _STEPS)
    taken = []
    for _ in range(_TRIES):
        started = time.process_time()
        steps.run(batches, _STEPS)
        taken.append((time.process_time() - started) / _STEPS)
    return max(1, round(seconds / min(taken)))


def train(
    make: Callable[[], Objective],
    splits: dict[str, Source],
    seed: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
) -> tuple[Objective, dict[str, float]]:
    """One training by the pipeline's own loop; what it trained, and its held-out metrics."""
    keras.utils.clear_session()
    make_reproducible(seed)
    objective = make()
    objective.show = lambda step: None  # type: ignore[method-assign]
    stage = StageConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        evaluate_every=steps,
        checkpoint_every=steps,
    )
    with tempfile.TemporaryDirectory() as folder:
        found = fit(
            objective,
            splits["train"],
            splits["eval"],
            stage,
            seed,
            tf.distribute.get_strategy(),
            Places(checkpoints=f"{folder}/checkpoints", logs=f"{folder}/logs"),
        )
    return objective, found
