"""The state of a training is the same on every replica: made so at the start, checked after."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from components.errors import PipelineError

# Bytes that are summed up as one number each, whatever the type of the variable.
_WORD = {2: tf.int16, 4: tf.int32, 8: tf.int64}


class Copies:
    """The state of a training on all of its replicas.

    Args:
        strategy: in whose scope the variables were made.
        variables: of which each replica has a copy.
    """

    def __init__(self, strategy: tf.distribute.Strategy, variables: Sequence[keras.Variable]):
        self._strategy, self._variables = strategy, list(variables)
        self._replicas = strategy.num_replicas_in_sync
        self._assign = tf.function(lambda: strategy.run(self._assign_the_first))
        self._checksums = tf.function(lambda: strategy.run(self._checksums_of_all))

    def broadcast(self) -> None:
        """Gives every replica the values that the first one, on the chief, has."""
        if self._replicas > 1:
            self._assign()

    def check(self, stage: str, step: int) -> None:
        """Compares the copies bit for bit, by a checksum of each.

        Raises:
            PipelineError: some replica has another value than the first.
        """
        if self._replicas == 1:
            return
        found = self._strategy.experimental_local_results(self._checksums())[0].numpy()  # (R, V)
        differing = np.argwhere(found != found[0])
        if len(differing):
            replica, place = differing[0]
            raise PipelineError(
                f"{stage}: at step {step:,} replica {replica} has another "
                f"{self._variables[place].path} than replica 0, and training on would train two "
                "models; check that all workers run the same image, on the same kind of device, "
                "then start them again: training goes on from the last checkpoint"
            )

    def _assign_the_first(self):
        context = tf.distribute.get_replica_context()
        first = context.replica_id_in_sync_group == 0
        for variable in self._variables:
            value = tf.convert_to_tensor(variable)
            own = tf.where(first, value, tf.zeros_like(value))
            variable.value.assign(context.all_reduce(tf.distribute.ReduceOp.SUM, own))

    def _checksums_of_all(self):
        context = tf.distribute.get_replica_context()
        own = tf.stack([_checksum(tf.convert_to_tensor(each)) for each in self._variables])  # (V,)
        place = context.replica_id_in_sync_group
        place = tf.one_hot(place, self._replicas, dtype=tf.int64)  # (R,)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, place[:, None] * own[None])


def _checksum(value):
    """int64 scalar: sum of the words of a tensor, each times its place."""
    words = tf.cast(tf.bitcast(tf.reshape(value, [-1]), _WORD[value.dtype.size]), tf.int64)
    # Odd numbers: no single word that differs is multiplied away, modulo 2^64.
    return tf.reduce_sum(words * (2 * tf.range(tf.size(words, tf.int64), dtype=tf.int64) + 1))
