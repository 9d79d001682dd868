"""Averaged weights: what is evaluated and exported where `weight_ema` is above 0."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from components.trainer.optimizer import state_variable
from models.updates import Updates


class Averages:
    """Exponential moving averages of all that the model computes with.

    The codebook and the likelihood's variance are averaged together with the weights: those of
    the last step do not belong to a decoder that is a mean over the last thousands.

    Args:
        model: the network.
        decay: per step; 0 follows nothing. To be called in the scope of the strategy.
    """

    def __init__(self, model: keras.Model, decay: float):
        self._decay = decay
        self._followed = [
            variable for variable in model.variables if decay and variable.dtype.startswith("float")
        ]
        self.variables = [
            state_variable(f"{each.name}_average", tuple(each.shape), each.dtype)
            for each in self._followed
        ]

    def updates(self, updates: Updates, steps: tf.Tensor) -> Updates:
        """Averages after a step.

        Args:
            updates: of the step; what is not among them has not changed.
            steps: int64 scalar, steps before this one. The first value is taken as it is.
        """
        new = {id(variable): value for variable, value in updates}
        followed = []
        for variable, average in zip(self._followed, self.variables, strict=True):
            value = new.get(id(variable), tf.convert_to_tensor(variable))
            decay = tf.where(steps > 0, tf.cast(self._decay, value.dtype), 0.0)
            followed.append((average, decay * average + (1.0 - decay) * value))
        return followed

    @contextlib.contextmanager
    def applied(self, keep: bool = False) -> Iterator[None]:
        """Gives the model its averages; `keep` leaves them in place afterwards."""
        trained = [tf.identity(variable.value) for variable in self._followed]
        for variable, average in zip(self._followed, self.variables, strict=True):
            variable.assign(average.value)
        try:
            yield
        finally:
            if not keep:
                for variable, value in zip(self._followed, trained, strict=True):
                    variable.assign(value)
