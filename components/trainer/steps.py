"""The compiled steps of a training: gradients, their mean over the replicas, the update."""

from __future__ import annotations

import keras
import tensorflow as tf

from components.trainer.config import StageConfig
from components.trainer.objective import Objective

# Of float16 (Micikevicius et al. 2017): the loss is scaled up, so that small gradients are not
# rounded to zero, and by half as much after each overflow.
_FIRST_LOSS_SCALE = 2.0**15
_STEPS_TO_DOUBLE = 2000


class Steps:
    """Optimisation steps, many in one call.

    Each replica computes the gradients of its part of the batch. Their means over all replicas,
    and those of what the objective reports, are taken in one reduction; clipping sees the
    gradient of the whole batch. A step whose loss or gradient is not finite is skipped: nothing
    of the model or the optimizer changes, neither the codebook.

    Args:
        objective: what is trained.
        optimizer: of `build_optimizer`, for the objective's variables.
        strategy: in whose scope both were made.
        stage: `gradient_clip`.
        jit_compile: compile a replica's part with XLA; with one replica only.
        scale_loss: for float16.

    Attributes:
        step: int64 variable, steps done.
        skipped: int64 variable, steps skipped since the last that was not.
        skipped_in_all: int64 variable.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: keras.Optimizer,
        strategy: tf.distribute.Strategy,
        stage: StageConfig,
        jit_compile: bool = False,
        scale_loss: bool = False,
    ):
        self._objective = objective
        self._optimizer = optimizer
        self._strategy = strategy
        self._clip = stage.gradient_clip
        self._scale_loss = scale_loss
        self._trainable = objective.model.trainable_variables
        self._state = [each.value for each in objective.model.non_trainable_variables]
        self.step, self.skipped, self.skipped_in_all, self._without_overflow = (
            tf.Variable(0, dtype=tf.int64, trainable=False) for _ in range(4)
        )
        self._culprit = tf.Variable(-1, dtype=tf.int64, trainable=False)
        self._loss_scale = tf.Variable(
            _FIRST_LOSS_SCALE if scale_loss else 1.0, dtype=tf.float32, trainable=False
        )
        # The replicas' reductions are not XLA's.
        compiled = jit_compile and strategy.num_replicas_in_sync == 1
        self._replica_step = (
            tf.function(self._gradients, jit_compile=True) if compiled else self._gradients
        )
        self._many = tf.function(self._run)

    @property
    def variables(self) -> list[tf.Variable]:
        """What a checkpoint must hold besides model and optimizer."""
        return [
            *(self.step, self.skipped, self.skipped_in_all),
            *(self._without_overflow, self._loss_scale),
        ]

    @property
    def culprit(self) -> str:
        """The tensor that was not finite in the last step that was skipped."""
        index = int(self._culprit)
        return "the loss" if index < 0 else f"the gradient of {self._trainable[index].path}"

    def run(self, batches, count: int) -> dict[str, tf.Tensor]:
        """Takes `count` steps; means of what the objective reported, over those not skipped."""
        return self._many(batches, tf.constant(count))

    def _run(self, batches, count):
        totals, good = self._one(batches)
        for _ in tf.range(count - 1):
            values, finite = self._one(batches)
            totals = tf.nest.map_structure(tf.add, totals, values)
            good += finite
        return tf.nest.map_structure(lambda total: total / tf.cast(good, total.dtype), totals)

    def _one(self, batches):
        step = tf.convert_to_tensor(self.step)
        scale = tf.convert_to_tensor(self._loss_scale)
        results = self._strategy.run(self._replica_step, args=(next(batches), step, scale))
        values, gradients, norms, before = results
        # The same on every replica, after the reduction.
        values, norms = tf.nest.map_structure(self._first, (values, norms))
        finite = tf.math.is_finite(values["loss"]) & tf.reduce_all(tf.math.is_finite(norms))
        if finite:
            self._strategy.run(self._optimizer.apply, args=(gradients,))
        else:
            self._undo(before)
            self._culprit.assign(_first_not_finite(values["loss"], norms))
        self._count(finite)
        values = {name: tf.where(finite, value, 0) for name, value in values.items()}
        return values, tf.cast(finite, tf.int32)

    def _gradients(self, batch, step, scale):
        before = [tf.identity(variable) for variable in self._state]
        with tf.GradientTape() as tape:
            values = self._objective.loss(batch, step)
            loss = values["loss"]
            if self._scale_loss:
                loss *= tf.cast(scale, loss.dtype)
        variables = [variable.value for variable in self._trainable]
        gradients = [tf.convert_to_tensor(each) for each in tape.gradient(loss, variables)]
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1:
            gradients, values = context.all_reduce(tf.distribute.ReduceOp.MEAN, (gradients, values))
        if self._scale_loss:
            gradients = [gradient / tf.cast(scale, gradient.dtype) for gradient in gradients]
        norms = tf.stack([tf.nn.l2_loss(gradient) for gradient in gradients])  # |g|² / 2
        norm = tf.sqrt(2.0 * tf.reduce_sum(norms))
        gradients, _ = tf.clip_by_global_norm(gradients, self._clip, use_norm=norm)
        return values, gradients, norms, before

    def _undo(self, before) -> None:
        for variable, value in zip(self._state, before, strict=True):
            self._strategy.extended.update(
                variable, lambda own, old: own.assign(old), args=(value,), group=False
            )

    def _count(self, finite) -> None:
        self.step.assign_add(1)
        self.skipped.assign(tf.where(finite, tf.zeros([], tf.int64), self.skipped + 1))
        self.skipped_in_all.assign_add(tf.cast(~finite, tf.int64))
        if self._scale_loss:
            row = tf.where(finite, self._without_overflow + 1, 0)
            longer = row >= _STEPS_TO_DOUBLE
            factor = tf.where(finite, tf.where(longer, 2.0, 1.0), 0.5)
            self._loss_scale.assign(self._loss_scale * factor)
            self._without_overflow.assign(tf.where(longer, tf.zeros([], tf.int64), row))

    def _first(self, value):
        return self._strategy.experimental_local_results(value)[0]


def _first_not_finite(loss, norms):
    """Place of the first gradient that is not finite, -1 where it is the loss."""
    place = tf.argmin(tf.cast(tf.math.is_finite(norms), tf.int32))
    return tf.where(tf.math.is_finite(loss), place, tf.constant(-1, tf.int64))
