"""The training loop: many steps per call, checkpoints, evaluation, TensorBoard."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import NoReturn

import numpy as np
import tensorflow as tf

from components.errors import PipelineError
from components.trainer.augment import Augment
from components.trainer.averages import Averages
from components.trainer.checkpoints import Checkpoints
from components.trainer.config import Precision, StageConfig
from components.trainer.copies import Copies
from components.trainer.distribution import check_batch, distributed
from components.trainer.kept_logs import KeptLogs
from components.trainer.objective import Objective
from components.trainer.optimizer import Adam, state_variable, warmup_steps
from components.trainer.preemption import Preempted, Preemption
from components.trainer.progress import LOGGER, Meter
from components.trainer.records import Batch
from components.trainer.source import Source
from components.trainer.steps import Steps
from components.trainer.strategy import is_chief, num_workers
from components.trainer.utilisation import flops_of_an_image, peak_flops

# What a collective operation fails with when another machine is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)


@dataclasses.dataclass(frozen=True)
class Places:
    """Where a training writes.

    Attributes:
        checkpoints: folder or URI that outlives the run.
        logs: folder of this run.
        kept_logs: folder or URI that outlives the run, for a copy of the logs; empty: none.
    """

    checkpoints: str
    logs: str
    kept_logs: str = ""


@dataclasses.dataclass(frozen=True)
class Computing:
    """How steps are computed: compiled by XLA, in which precision, how many in one call."""

    jit_compile: bool = False
    precision: Precision = "float32"
    steps_per_call: int = 50


def fit(
    objective: Objective,
    train: Source,
    held_out: Source,
    stage: StageConfig,
    seed: int,
    strategy: tf.distribute.Strategy,
    places: Places,
    computing: Computing = Computing(),
    augment: Augment | None = None,
    start: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Trains to the last step, going on from a checkpoint where there is one.

    The network of `objective` must have been made in the scope of `strategy`. With several
    workers `places.checkpoints` must be the same directory for all of them. Where there is no
    checkpoint the first worker calls `start`, and all are given the weights that it leaves.

    Returns:
        the held-out evaluation of the weights that the network has at the end: the last, or
        the best where `stage.patience` ended the training or might have.

    Raises:
        PipelineError: the loss or the gradient stayed not finite, the objective's `check`
            failed, a checkpoint cannot be written, or another worker is gone.
        Preempted: SIGTERM came; a checkpoint was written.
    """
    check_batch(objective.stage, stage, strategy)
    with _lost_workers_named(objective.stage, strategy):
        data = distributed(train, strategy, stage.batch_size, seed, augment)
        training = _Training(objective, held_out, stage, strategy, places, computing, start)
        return training.run(data)


class _Training:
    """One call of `fit`."""

    def __init__(
        self,
        objective: Objective,
        held_out: Source,
        stage: StageConfig,
        strategy: tf.distribute.Strategy,
        places: Places,
        computing: Computing,
        start: Callable[[], None] | None,
    ):
        self._objective, self._stage, self._strategy = objective, stage, strategy
        self._held_out, self._places = held_out, places
        self._steps_per_call = computing.steps_per_call
        self._alone = num_workers(strategy) == 1
        model = objective.model
        with strategy.scope():
            self._optimizer = Adam(stage, model.trainable_variables)
            self._averages = Averages(model, stage.weight_ema)
            self._best = state_variable("best", (), "float64", math.inf)
            self._worse_in_a_row = state_variable("worse_in_a_row", (), "int64")
            self._evaluated = state_variable("evaluated", (), "int64")
        self._steps = Steps(
            *(objective, self._optimizer, self._averages, strategy, stage),
            *(computing.jit_compile, computing.precision == "float16"),
        )
        kept = {
            "model": model.variables,
            "optimizer": self._optimizer.variables,
            "averages": self._averages.variables,
            "steps": self._steps.variables,
            "loop": [self._best, self._worse_in_a_row, self._evaluated],
        }
        self._copies = Copies(strategy, [each for kind in kept.values() for each in kind])
        self._checkpoints = None
        if is_chief(strategy):
            self._checkpoints = Checkpoints(places.checkpoints, kept, stage.keep_checkpoints)
            if not self._checkpoints.restore_last(stage.steps) and start:
                start()
        self._copies.broadcast()
        if self._step:
            LOGGER.info("%s: going on from step %d", objective.stage, self._step)
        kept_logs = places.kept_logs if is_chief(strategy) else ""
        self._kept_logs = KeptLogs(places.logs, kept_logs, goes_on=self._step > 0)
        peak = peak_flops(computing.precision)
        self._meter = Meter(
            *(objective.stage, self._step, stage.steps, stage.batch_size),
            strategy.num_replicas_in_sync,
            peak if math.isnan(peak) else flops_of_an_image(self._steps.gradients, held_out) / peak,
        )
        self._since_evaluation: dict[str, np.ndarray] = {}

    @property
    def _step(self) -> int:
        return self._steps.step

    def run(self, data: Callable[[int], Iterator]) -> dict[str, float]:
        held, steps = {}, self._stage.steps
        self._compare_copies()
        batches = data(self._step)
        writer, logs = self._writer().as_default(), self._kept_logs
        with writer, logs, Preemption(self._steps.stop) as preemption:
            try:
                # Of a training that was stopped before it had evaluated.
                if self._step and self._due(self._stage.evaluate_every):
                    held = self._evaluated_once(preemption)
                while self._step < steps and not self._exhausted():
                    with self._profiled():
                        stops = self._some_steps(batches)
                    if (stops or (self._alone and preemption.requested)) and self._step < steps:
                        raise _Stopped
                    if self._due(self._stage.evaluate_every):
                        self._check()
                        held = self._evaluated_once(preemption)
                    if self._due(self._stage.checkpoint_every):
                        self._save()
                    self._kept_logs.keep()
                    self._meter.restart()
            except _Stopped:
                self._leave()
            return self._finish(held)

    def _some_steps(self, batches) -> bool:
        """Takes steps to the next event; whether some worker, of several, was told to stop."""
        # The first step alone: it is compiled meanwhile.
        count = self._until_next_event() if self._meter.started else 1
        totals = self._steps.run(batches, count)
        stops = float(totals.pop("stops")) > 0
        totals = {name: each.numpy().astype("float64") for name, each in totals.items()}
        means = self._objective.describe(_means(totals))
        for name, each in totals.items():
            self._since_evaluation[name] = self._since_evaluation.get(name, 0.0) + each
        now, stage = self._step, self._objective.stage
        if (skipped := self._steps.skipped) >= self._stage.max_skipped_steps:
            raise PipelineError(
                f"{stage}: {self._steps.culprit} has not been finite since step "
                f"{now - skipped + 1:,}, and {skipped} steps were skipped; lower "
                f"training.{stage}.learning_rate"
            )
        shown = {name: f"{value:.4g}" for name, value in means.items() if name != "loss"}
        progress = self._meter.report(now, shown or {"loss": f"{means['loss']:.4g}"})
        others = {
            **(progress.scalars if progress else {}),
            "learning_rate": float(self._optimizer.learning_rate(self._optimizer.iterations)),
            "skipped_steps": float(self._steps.skipped_in_all),
        }
        _log("train", now, means | others)
        return stops

    def _check(self) -> None:
        """Of all steps since the last evaluation; of fewer, after a restart, it says nothing."""
        steps = self._step - int(self._evaluated.numpy())
        totals, self._since_evaluation = self._since_evaluation, {}
        if self._step >= warmup_steps(self._stage) and totals["steps"] >= 0.5 * steps:
            self._objective.check(_means(totals))

    def _evaluated_once(self, preemption: Preemption) -> dict[str, float]:
        if self._step == int(self._evaluated.numpy()):
            return {}
        held_out = _Interruptible(self._held_out, lambda: self._agreed(preemption.requested))
        with self._averages.applied():
            held = self._objective.evaluate(held_out)
            self._objective.show(self._step)
        _log("held_out", self._step, held)
        self._evaluated.assign(self._step)
        value = held[self._objective.monitor]
        if value < float(self._best.numpy()):
            self._best.assign(value)
            self._worse_in_a_row.assign(0)
            if self._checkpoints:
                self._checkpoints.save_best(self._step)
        else:
            self._worse_in_a_row.assign(self._worse_in_a_row + 1)
        return held

    @contextlib.contextmanager
    def _profiled(self) -> Iterator[None]:
        """Profiles the steps that are asked for; intervals begin and end with them."""
        first, last = self._stage.profile_steps or (0, 0)
        if self._step == first - 1 and is_chief(self._strategy):
            tf.profiler.experimental.start(self._places.logs)
        yield
        if self._step == last and is_chief(self._strategy):
            tf.profiler.experimental.stop()

    def _exhausted(self) -> bool:
        patience = self._stage.patience
        return 0 < patience <= int(self._worse_in_a_row.numpy())

    def _save(self) -> None:
        self._compare_copies()
        if self._checkpoints:
            self._checkpoints.save(self._step)

    def _compare_copies(self) -> None:
        self._copies.check(self._objective.stage, self._step)

    def _leave(self) -> NoReturn:
        self._save()
        raise Preempted(
            f"{self._objective.stage}: stopped by SIGTERM at step {self._step:,} of "
            f"{self._stage.steps:,}, after a checkpoint; the same command goes on from there"
        )

    def _agreed(self, requested: bool) -> bool:
        """Whether any worker wants to stop: they must do so at the same step."""
        if self._alone:
            return requested
        flag = tf.constant(float(requested))
        per_replica = self._strategy.run(lambda: tf.identity(flag))
        total = self._strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)
        return float(total) > 0.0

    def _finish(self, held: dict[str, float]) -> dict[str, float]:
        if self._stage.patience and math.isfinite(float(self._best.numpy())):
            if self._checkpoints:
                self._checkpoints.restore_best()
            self._copies.broadcast()
            stage, step = self._objective.stage, self._step
            LOGGER.info("%s: the best weights are those of step %d", stage, step)
            held = {}
        with self._averages.applied(keep=True):
            return held or self._objective.evaluate(self._held_out)

    def _until_next_event(self) -> int:
        """Steps to the next evaluation, checkpoint, progress report or edge of a profile."""
        step, stage = self._step, self._stage
        intervals = (self._steps_per_call, stage.evaluate_every, stage.checkpoint_every)
        first, last = stage.profile_steps or (0, 0)
        ahead = [mark - step for mark in (first - 1, last, stage.steps) if mark > step]
        return min(*ahead, *(every - step % every for every in intervals))

    def _due(self, every: int) -> bool:
        return self._step % every == 0 or self._step == self._stage.steps

    def _writer(self) -> tf.summary.SummaryWriter:
        if is_chief(self._strategy):
            return tf.summary.create_file_writer(self._places.logs)
        return tf.summary.create_noop_writer()


class _Stopped(Exception):
    """Some worker was told to stop, and all of them know it."""


class _Interruptible:
    """A held-out split whose reading ends when the training is to stop."""

    def __init__(self, source: Source, stops: Callable[[], bool]):
        self._source, self._stops = source, stops

    def once(self, batch_size: int) -> Iterator[Batch]:
        for batch in self._source.once(batch_size):
            if self._stops():
                raise _Stopped
            yield batch


def _means(totals: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of sums over steps; NaN where every one of them was skipped."""
    steps = totals["steps"]
    return {
        name: each / steps if steps else np.full_like(each, np.nan)
        for name, each in totals.items()
        if name != "steps"
    }


@contextlib.contextmanager
def _lost_workers_named(stage: str, strategy: tf.distribute.Strategy) -> Iterator[None]:
    try:
        yield
    except _LOST as error:
        if num_workers(strategy) == 1:
            raise
        raise PipelineError(
            f"{stage}: another worker of this training is gone or does not answer "
            f"({type(error).__name__}); start all of them again: training goes on from the last "
            "checkpoint"
        ) from error


def _log(split: str, step: int, values: dict[str, float]) -> None:
    for name, value in values.items():
        tf.summary.scalar(f"{split}/{name}", value, step=step)
