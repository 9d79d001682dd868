"""The training loop: many steps per call, checkpoints, evaluation, TensorBoard."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator

import tensorflow as tf

from components.errors import PipelineError
from components.trainer.augment import Augment
from components.trainer.checkpoints import Checkpoints
from components.trainer.config import Precision, StageConfig
from components.trainer.objective import Objective
from components.trainer.optimizer import averaged, build_optimizer, warmup_steps
from components.trainer.preemption import Preempted, Preemption
from components.trainer.progress import LOGGER, Meter
from components.trainer.source import Share, Source
from components.trainer.steps import Steps
from components.trainer.strategy import is_chief, num_workers

# Steps in one call of the compiled loop: enough that the call itself costs nothing.
_STEPS_PER_CALL = 50
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
    """Where a training writes: `checkpoints` (folder or URI) outlives the run, `logs` does not."""

    checkpoints: str
    logs: str


def fit(
    objective: Objective,
    train: Source,
    held_out: Source,
    stage: StageConfig,
    seed: int,
    strategy: tf.distribute.Strategy,
    places: Places,
    jit_compile: bool = False,
    precision: Precision = "float32",
    augment: Augment | None = None,
) -> dict[str, float]:
    """Trains to the last step, going on from a checkpoint where there is one.

    The network of `objective` must have been made in the scope of `strategy`. With several
    workers `places.checkpoints` must be the same directory for all of them.

    Returns:
        the held-out evaluation of the weights that the network has at the end: the last, or
        the best where `stage.patience` ended the training or might have.

    Raises:
        PipelineError: the loss or the gradient stayed not finite, the objective's `check`
            failed, a checkpoint cannot be written, or another worker is gone.
        Preempted: SIGTERM came; a checkpoint was written.
    """
    _check_batch(objective.stage, stage.batch_size, strategy)
    with _lost_workers_named(objective.stage, strategy):
        data = _distributed(train, strategy, stage.batch_size, seed, augment)
        training = _Training(objective, held_out, stage, strategy, places, jit_compile, precision)
        return training.run(data)


class _Training:
    """One call of `fit`."""

    def __init__(self, objective, held_out, stage, strategy, places, jit_compile, precision):
        self._objective, self._stage, self._strategy = objective, stage, strategy
        self._held_out, self._places = held_out, places
        self._variables = objective.model.trainable_variables
        with strategy.scope():
            self._optimizer = build_optimizer(stage, self._variables)
        self._steps = Steps(
            objective, self._optimizer, strategy, stage, jit_compile, precision == "float16"
        )
        self._best = tf.Variable(math.inf, dtype=tf.float64, trainable=False)
        self._worse_in_a_row = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._checkpoints = Checkpoints(
            places.checkpoints,
            objective.model,
            self._optimizer,
            [*self._steps.variables, self._best, self._worse_in_a_row],
            stage.keep_checkpoints,
            is_chief(strategy),
        )
        if self._checkpoints.restore_last():
            LOGGER.info("%s: going on from step %d", objective.stage, self._step)
        self._meter = Meter(objective.stage, self._step, stage.steps, stage.batch_size)

    @property
    def _step(self) -> int:
        return int(self._steps.step)

    def run(self, data: Callable[[int], Iterator]) -> dict[str, float]:
        held: dict[str, float] = {}
        batches = data(self._step)
        with self._writer().as_default(), Preemption() as preemption:
            while self._step < self._stage.steps and not self._exhausted():
                with self._profiled():
                    means = self._some_steps(batches)
                if self._due(self._stage.evaluate_every):
                    self._check(means)
                    held = self._evaluate()
                if self._due(self._stage.checkpoint_every):
                    self._checkpoints.save(self._step)
                self._stop_if(preemption)
                self._meter.restart()
            return self._finish(held)

    def _some_steps(self, batches) -> dict[str, float]:
        count = _until_next_event(self._step, self._stage)
        means = self._objective.describe(self._steps.run(batches, count))
        now, stage = self._step, self._objective.stage
        if (skipped := int(self._steps.skipped)) >= self._stage.max_skipped_steps:
            raise PipelineError(
                f"{stage}: {self._steps.culprit} has not been finite since step "
                f"{now - skipped + 1:,}, and {skipped} steps were skipped; lower "
                f"training.{stage}.learning_rate"
            )
        shown = {name: f"{value:.4g}" for name, value in means.items() if name != "loss"}
        rate = self._meter.report(now, shown or {"loss": f"{means['loss']:.4g}"})
        others = {
            "images_per_second": rate,
            "learning_rate": float(self._optimizer.learning_rate),
            "skipped_steps": float(self._steps.skipped_in_all),
        }
        _log("train", now, means | others)
        return means

    def _check(self, means: dict[str, float]) -> None:
        if self._step >= warmup_steps(self._stage):
            self._objective.check(means)

    def _evaluate(self) -> dict[str, float]:
        with averaged(self._optimizer, self._variables):
            held = self._objective.evaluate(self._held_out)
            self._objective.show(self._step)
        _log("held_out", self._step, held)
        value = held[self._objective.monitor]
        if value < float(self._best):
            self._best.assign(value)
            self._worse_in_a_row.assign(0)
            self._checkpoints.save_best(self._step)
        else:
            self._worse_in_a_row.assign_add(1)
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
        return 0 < patience <= int(self._worse_in_a_row)

    def _stop_if(self, preemption: Preemption) -> None:
        if self._step == self._stage.steps or not self._agreed(preemption.requested):
            return
        if not self._due(self._stage.checkpoint_every):
            self._checkpoints.save(self._step)
        raise Preempted(
            f"{self._objective.stage}: stopped by SIGTERM at step {self._step:,} of "
            f"{self._stage.steps:,}, after a checkpoint; the same command goes on from there"
        )

    def _agreed(self, requested: bool) -> bool:
        """Whether any worker wants to stop: they must do so at the same step."""
        if num_workers(self._strategy) == 1:
            return requested
        flag = tf.constant(float(requested))
        per_replica = self._strategy.run(lambda: tf.identity(flag))
        total = self._strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)
        return float(total) > 0.0

    def _finish(self, held: dict[str, float]) -> dict[str, float]:
        if self._stage.patience and self._checkpoints.restore_best():
            stage, step = self._objective.stage, self._step
            LOGGER.info("%s: the best weights are those of step %d", stage, step)
            held = {}
        with averaged(self._optimizer, self._variables, keep=True):
            return held or self._objective.evaluate(self._held_out)

    def _due(self, every: int) -> bool:
        return self._step % every == 0 or self._step == self._stage.steps

    def _writer(self) -> tf.summary.SummaryWriter:
        if is_chief(self._strategy):
            return tf.summary.create_file_writer(self._places.logs)
        return tf.summary.create_noop_writer()


def _distributed(
    train: Source,
    strategy: tf.distribute.Strategy,
    batch_size: int,
    seed: int,
    augment: Augment | None,
) -> Callable[[int], Iterator]:
    """Step to begin with -> batches from there on, each replica's part on its device."""

    def begin(start: int) -> Iterator:
        def dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            count = context.num_replicas_in_sync // context.num_input_pipelines
            first = context.input_pipeline_id * count
            share = Share(first, count, context.num_replicas_in_sync)
            return train.batches(batch_size, seed, start, share, augment)

        return iter(strategy.distribute_datasets_from_function(dataset))

    return begin


def _check_batch(stage: str, batch_size: int, strategy: tf.distribute.Strategy) -> None:
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise PipelineError(
            f"training.{stage}.batch_size is {batch_size}, which {replicas} replicas cannot share "
            f"evenly; make it a multiple of {replicas}"
        )


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


def _until_next_event(step: int, stage: StageConfig) -> int:
    """Steps to the next evaluation, checkpoint, progress report or edge of a profile."""
    intervals = (_STEPS_PER_CALL, stage.evaluate_every, stage.checkpoint_every)
    first, last = stage.profile_steps or (0, 0)
    ahead = [mark - step for mark in (first - 1, last, stage.steps) if mark > step]
    return min(*ahead, *(every - step % every for every in intervals))


def _log(split: str, step: int, values: dict[str, float]) -> None:
    for name, value in values.items():
        tf.summary.scalar(f"{split}/{name}", value, step=step)
