"""The compiled steps of a training: gradients, one reduction over the replicas, the update."""

from __future__ import annotations

import keras
import tensorflow as tf

from components.trainer.averages import Averages
from components.trainer.config import StageConfig
from components.trainer.objective import Objective
from components.trainer.optimizer import Adam, state_variable
from components.trainer.strategy import num_workers
from models.part import WHOLE, Part
from models.updates import Updates

# Of float16 (Micikevicius et al. 2017): the loss is scaled up, so that small gradients are not
# rounded to zero, and by half as much after each overflow.
_FIRST_LOSS_SCALE = 2.0**15
_STEPS_TO_DOUBLE = 2000


class Steps:
    """Optimisation steps, many in one call.

    A step has three parts. Each replica computes the gradients, losses and statistics of its
    share of the batch, `gradient_accumulation` parts of it one after the other. All of them are
    added up over the replicas in one reduction. Then each replica computes the new state of
    everything (weights, moments, codebook, counters) and assigns it to its own copies. The same
    arithmetic on the same numbers keeps the copies equal. Both ends compile with XLA, and are
    one program where there is a single replica.

    A step whose loss or gradient is not finite is skipped: everything is given its old value.

    Args:
        objective: what is trained.
        optimizer: for the objective's variables.
        averages: of the objective's model.
        strategy: in whose scope they were made.
        stage: `gradient_clip` and `gradient_accumulation`.
        jit_compile: compile a replica's work with XLA.
        scale_loss: for float16.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Adam,
        averages: Averages,
        strategy: tf.distribute.Strategy,
        stage: StageConfig,
        jit_compile: bool = False,
        scale_loss: bool = False,
    ):
        self._objective, self._optimizer, self._averages = objective, optimizer, averages
        self._strategy, self._stage, self._scale_loss = strategy, stage, scale_loss
        self._several_workers = num_workers(strategy) > 1
        self._trainable = objective.model.trainable_variables
        with strategy.scope():
            self._step = state_variable("step", (), "int64")
            self._skipped = state_variable("skipped", (), "int64")
            self._skipped_in_all = state_variable("skipped_in_all", (), "int64")
            self._culprit = state_variable("culprit", (), "int64", -1)
            self._without_overflow = state_variable("without_overflow", (), "int64")
            first = _FIRST_LOSS_SCALE if scale_loss else 1.0
            self._loss_scale = state_variable("loss_scale", (), "float32", first)
        # Not replicated: this process's own wish, which the loop of steps reads on the host.
        with tf.device("CPU:0"):
            self._stop = tf.Variable(False, trainable=False, name="stop")
        compile_with = {"jit_compile": True} if jit_compile else {}
        self._sums = tf.function(self._sums_of_parts, **compile_with)
        self._assign = tf.function(self._assign_updates, **compile_with)
        self._whole = tf.function(
            lambda batch: self._assign_updates(self._sums_of_parts(batch, 0), 0), **compile_with
        )
        # A function of its own, which is traced once for the first step and for the loop.
        self._one = tf.function(self._one_step, reduce_retracing=True)
        self._many = tf.function(self._run, reduce_retracing=True)

    @property
    def variables(self) -> list[keras.Variable]:
        """What a checkpoint must hold besides model, optimizer and averages."""
        return [
            *(self._step, self._skipped, self._skipped_in_all),
            *(self._culprit, self._without_overflow, self._loss_scale),
        ]

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self._step.numpy())

    @property
    def skipped(self) -> int:
        """Steps skipped since the last that was not."""
        return int(self._skipped.numpy())

    @property
    def skipped_in_all(self) -> int:
        """Steps skipped."""
        return int(self._skipped_in_all.numpy())

    @property
    def culprit(self) -> str:
        """The tensor that was not finite in the last step that was skipped."""
        index = int(self._culprit.numpy())
        return "the loss" if index < 0 else f"the gradient of {self._trainable[index].path}"

    def stop(self) -> None:
        """Ends `run` after the step that is being taken; of several workers, that of all. May be
        called by any thread.
        """
        self._stop.assign(True)

    def run(self, batches, count: int) -> dict[str, tf.Tensor]:
        """Takes `count` steps, or fewer where `stop` is called.

        Returns:
            sums over the steps that were not skipped of what the objective reported and of its
            statistics; `steps`, how many such steps there were; and `stops`, above 0 where a
            worker was told to stop.
        """
        return self._many(batches, tf.constant(count))

    def gradients(self, batch):
        """Losses, statistics and gradients of a batch; nothing is changed."""
        return self._part(batch, tf.constant(0, tf.int64), WHOLE)

    def _run(self, batches, count):
        totals, done = self._one(batches), 1
        while self._goes_on(totals, done, count):
            totals = tf.nest.map_structure(tf.add, totals, self._one(batches))
            done += 1
        return totals

    def _goes_on(self, totals, done, count):
        # On the host, where the next step is begun: of one process none of them has to wait for
        # what the one before it computes.
        with tf.device("CPU:0"):
            stops = totals["stops"] > 0 if self._several_workers else tf.identity(self._stop)
            return (done < count) & ~stops

    def _one_step(self, batches):
        reported = self._strategy.run(self._on_replica, args=(next(batches),))
        return tf.nest.map_structure(self._first, reported)

    def _on_replica(self, batch):
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            return {**self._whole(batch), "stops": tf.zeros([])}
        replica = int(tf.get_static_value(context.replica_id_in_sync_group))
        copies = len(self._copies(self._step))
        stops = tf.cast(self._stop, tf.float32) if self._several_workers else tf.zeros([])
        sums, stops = _reduced(context, (self._sums(batch, replica), stops))
        return {**self._assign(sums, replica % copies), "stops": stops}

    def _sums_of_parts(self, batch, replica: int):
        """Sums of losses, statistics and gradients over this replica's parts of the batch."""
        parts = self._stage.gradient_accumulation
        everywhere = parts * self._strategy.num_replicas_in_sync
        step = tf.convert_to_tensor(self._step)
        if parts == 1:
            return self._part(batch, step, Part(replica, everywhere))
        total = None
        for index in range(parts):
            one = {name: _slice(each, index, parts) for name, each in batch.items()}
            if total is not None:
                # One after the other: that is what bounds the memory.
                with tf.control_dependencies(tf.nest.flatten(total)):
                    one = {name: tf.identity(each) for name, each in one.items()}
            found = self._part(one, step, Part(replica * parts + index, everywhere))
            total = found if total is None else tf.nest.map_structure(tf.add, total, found)
        return total

    def _part(self, batch, step, part: Part):
        with tf.GradientTape() as tape:
            losses = dict(self._objective.loss(batch, step, part))
            statistics = losses.pop("statistics")
            loss = losses["loss"]
            if self._scale_loss:
                loss *= tf.cast(self._loss_scale, loss.dtype)
        variables = [variable.value for variable in self._trainable]
        gradients = [tf.convert_to_tensor(each) for each in tape.gradient(loss, variables)]
        for gradient, variable in zip(gradients, variables, strict=True):
            gradient.set_shape(variable.shape)  # some forget it
        # Means over the whole batch, once they are added up.
        if part.of > 1:
            losses, gradients = tf.nest.map_structure(
                lambda each: each / tf.cast(part.of, each.dtype), (losses, gradients)
            )
        return losses, statistics, gradients

    def _assign_updates(self, sums, copy: int):
        """Assigns the state after the step to this replica's copies; what is reported of it."""
        losses, statistics, gradients = sums
        if self._scale_loss:
            scale = tf.convert_to_tensor(self._loss_scale)
            gradients = [gradient / tf.cast(scale, gradient.dtype) for gradient in gradients]
        norms = tf.stack([tf.nn.l2_loss(gradient) for gradient in gradients])  # |g|² / 2
        norm = tf.sqrt(2.0 * tf.reduce_sum(norms))
        clipped, _ = tf.clip_by_global_norm(gradients, self._stage.gradient_clip, use_norm=norm)
        finite = tf.math.is_finite(losses["loss"]) & tf.reduce_all(tf.math.is_finite(norms))

        steps = tf.convert_to_tensor(self._optimizer.iterations)
        updates = [
            *self._optimizer.updates(clipped),
            *self._objective.updates(losses, statistics),
        ]
        updates += self._averages.updates(updates, steps)
        updates = [
            (variable, tf.where(finite, value, tf.convert_to_tensor(variable)))
            for variable, value in updates
        ]
        for variable, value in updates + self._counted(finite, losses["loss"], norms):
            self._copies(variable)[copy].assign(value)
        reported = {**losses, **statistics}
        reported = {name: tf.where(finite, each, 0) for name, each in reported.items()}
        return {**reported, "steps": tf.cast(finite, tf.float32)}

    def _counted(self, finite, loss, norms) -> Updates:
        """Counters after the step, and the scale of the next loss."""
        skipped = tf.cast(~finite, tf.int64)
        updates = [
            (self._step, self._step + 1),
            (self._skipped, (self._skipped + 1) * skipped),
            (self._skipped_in_all, self._skipped_in_all + skipped),
            (self._culprit, _culprit(loss, norms, tf.convert_to_tensor(self._culprit))),
        ]
        if self._scale_loss:
            row = (self._without_overflow + 1) * (1 - skipped)
            longer = row >= _STEPS_TO_DOUBLE
            factor = tf.where(finite, tf.where(longer, 2.0, 1.0), 0.5)
            updates += [
                (self._loss_scale, self._loss_scale * factor),
                (self._without_overflow, tf.where(longer, tf.zeros_like(row), row)),
            ]
        return updates

    def _copies(self, variable: keras.Variable) -> tuple[tf.Variable, ...]:
        """Those of this process, one for each of its replicas."""
        return self._strategy.experimental_local_results(variable.value)

    def _first(self, value):
        return self._strategy.experimental_local_results(value)[0]


def _slice(rows, index: int, parts: int):
    """Part `index` of the rows; `tf.split` has no kernel for integers on a GPU."""
    count = rows.shape[0] // parts
    return rows[index * count : (index + 1) * count]


def _reduced(context: tf.distribute.ReplicaContext, sums):
    """Sums over the replicas, in one operation for all tensors of a type."""
    flat = tf.nest.flatten(sums)
    places: dict[tf.DType, list[int]] = {}
    for place, tensor in enumerate(flat):
        places.setdefault(tensor.dtype, []).append(place)
    for own in places.values():
        packed = tf.concat([tf.reshape(flat[place], [-1]) for place in own], axis=0)
        packed = context.all_reduce(tf.distribute.ReduceOp.SUM, packed)
        sizes = [flat[place].shape.num_elements() for place in own]
        for place, piece in zip(own, tf.split(packed, sizes), strict=True):
            flat[place] = tf.reshape(piece, flat[place].shape)
    return tf.nest.pack_sequence_as(sums, flat)


def _culprit(loss, norms, before):
    """Place of the first gradient that is not finite, -1 where it is the loss."""
    bad = ~tf.math.is_finite(norms)
    place = tf.argmax(tf.cast(bad, tf.float32))  # of integers there is none on a GPU
    place = tf.where(tf.reduce_any(bad), place, before)
    return tf.where(tf.math.is_finite(loss), place, tf.constant(-1, tf.int64))
