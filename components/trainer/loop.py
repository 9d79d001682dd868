"""The training loop: many steps per call, checkpoints, evaluation, TensorBoard."""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import keras
import tensorflow as tf

from components.errors import PipelineError
from components.trainer.config import StageConfig
from components.trainer.data import Batch, Source
from components.trainer.progress import LOGGER, Meter

# Steps in one call of the compiled loop: enough that the call itself costs nothing.
_STEPS_PER_CALL = 50


class Objective(Protocol):
    """What is trained: a network, the loss of a batch, and a held-out evaluation."""

    stage: str
    model: keras.Model

    def loss(self, batch: Batch, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """`loss` (scalar, the mean over the batch) and what else is worth following."""

    def describe(self, means: dict[str, tf.Tensor]) -> dict[str, float]:
        """Scalars to log from the means that `loss` returned over some steps."""

    def evaluate(self, held_out: Source) -> dict[str, float]:
        """Scalars over the whole held-out split."""

    def show(self, writer_step: int) -> None:
        """Writes images or histograms to the current TensorBoard writer."""


@dataclasses.dataclass(frozen=True)
class Places:
    """Directories of a training: `checkpoints` outlives the run, `logs` belongs to it."""

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
) -> dict[str, float]:
    """Trains to the last step, going on from a checkpoint where there is one.

    The network of `objective` must have been made in the scope of `strategy`.

    Returns:
        the last held-out evaluation.

    Raises:
        PipelineError: if the loss stops being a number.
    """
    with strategy.scope():
        optimizer = keras.optimizers.Adam(_learning_rate(stage))
        optimizer.build(objective.model.trainable_variables)
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    # Variables by name of list and place: followed through its attributes, a Keras model loses
    # the layers that it keeps in Python lists, the state of their dropout with them.
    checkpoint = tf.train.Checkpoint(
        model=[variable.value for variable in objective.model.variables],
        optimizer=[variable.value for variable in optimizer.variables],
        step=step,
    )
    manager = tf.train.CheckpointManager(checkpoint, places.checkpoints, max_to_keep=2)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_consumed()
        LOGGER.info("%s: going on from step %d", objective.stage, int(step))

    data = train.batches(stage.batch_size, seed, start=int(step))
    batches = iter(strategy.experimental_distribute_dataset(data))
    run_steps = _compiled(objective, optimizer, strategy, stage, jit_compile)
    meter = Meter(objective.stage, int(step), stage.steps, stage.batch_size)
    held: dict[str, float] = {}
    with tf.summary.create_file_writer(places.logs).as_default():
        while int(step) < stage.steps:
            count = _until_next_event(int(step), stage)
            means = objective.describe(run_steps(batches, step, count))
            now = int(step)
            if not math.isfinite(means["loss"]):
                raise PipelineError(
                    f"{objective.stage}: the loss is {means['loss']} at step {now}; lower "
                    f"training.{objective.stage}.learning_rate"
                )
            shown = {name: f"{value:.4g}" for name, value in means.items() if name != "loss"}
            rate = meter.report(now, shown or {"loss": f"{means['loss']:.4g}"})
            _log("train", now, means | {"images_per_second": rate})
            _log("train", now, {"learning_rate": float(optimizer.learning_rate)})
            if now % stage.evaluate_every == 0 or now == stage.steps:
                held = objective.evaluate(held_out)
                _log("held_out", now, held)
                objective.show(now)
            if now % stage.checkpoint_every == 0 or now == stage.steps:
                manager.save(checkpoint_number=now)
            meter.restart()
    return held or objective.evaluate(held_out)


def _compiled(objective, optimizer, strategy, stage: StageConfig, jit_compile: bool):
    model, replicas = objective.model, strategy.num_replicas_in_sync

    def replica_step(batch, step):
        with tf.GradientTape() as tape:
            losses = objective.loss(batch, step)
        gradients = tape.gradient(losses["loss"], model.trainable_variables)
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        if replicas > 1:
            # Averaged here, so that the norm that is clipped is the global batch's; the
            # optimizer sums over the replicas once more, hence the division.
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
        gradients, _ = tf.clip_by_global_norm(gradients, stage.gradient_clip)
        optimizer.apply([gradient / replicas for gradient in gradients])
        return losses

    if jit_compile and replicas == 1:
        replica_step = tf.function(replica_step, jit_compile=True)

    @tf.function
    def run_steps(batches, step, count):
        totals = _one_step(batches, step)
        for _ in tf.range(count - 1):
            losses = _one_step(batches, step)
            totals = tf.nest.map_structure(tf.add, totals, losses)
        return tf.nest.map_structure(lambda total: total / tf.cast(count, total.dtype), totals)

    def _one_step(batches, step):
        per_replica = strategy.run(replica_step, args=(next(batches), step))
        step.assign_add(1)
        return tf.nest.map_structure(
            lambda value: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None),
            per_replica,
        )

    return lambda batches, step, count: run_steps(batches, step, tf.constant(count))


def _learning_rate(stage: StageConfig) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup = max(1, round(stage.warmup * stage.steps))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=stage.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(1, stage.steps - warmup),
        alpha=stage.final_learning_rate,
    )


def _until_next_event(step: int, stage: StageConfig) -> int:
    """Steps to the next evaluation, checkpoint or progress report, whichever comes first."""
    intervals = (_STEPS_PER_CALL, stage.evaluate_every, stage.checkpoint_every)
    return min(stage.steps - step, *(every - step % every for every in intervals))


def _log(split: str, step: int, values: dict[str, float]) -> None:
    for name, value in values.items():
        tf.summary.scalar(f"{split}/{name}", value, step=step)
