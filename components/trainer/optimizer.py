"""The optimizer of a training: Adam, its learning rate, and averaged weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from components.trainer.config import StageConfig


class _Adam(keras.optimizers.Adam):
    """Adam for gradients that have been reduced over the replicas: `Steps` clips their mean."""

    def _all_reduce_sum_gradients(self, grads_and_vars):
        # Keras would add them up a second time. That it does not is tested against one device.
        return grads_and_vars


def build_optimizer(stage: StageConfig, variables: Sequence[keras.Variable]) -> keras.Optimizer:
    """Adam (Kingma & Ba 2014) for `variables`. To be called in the scope of the strategy."""
    optimizer = _Adam(
        _learning_rate(stage),
        use_ema=stage.weight_ema > 0.0,
        ema_momentum=stage.weight_ema,
    )
    optimizer.build(list(variables))
    return optimizer


def warmup_steps(stage: StageConfig) -> int:
    """Steps in which the learning rate rises."""
    return max(1, round(stage.warmup * stage.steps))


def _learning_rate(stage: StageConfig) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup = warmup_steps(stage)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=stage.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(1, stage.steps - warmup),
        alpha=stage.final_learning_rate,
    )


@contextlib.contextmanager
def averaged(
    optimizer: keras.Optimizer, variables: Sequence[keras.Variable], keep: bool = False
) -> Iterator[None]:
    """Gives `variables` their averages over the training, where these are followed.

    Args:
        optimizer: of `build_optimizer`.
        variables: those that it was built with.
        keep: leaves the averages in place afterwards.
    """
    if not optimizer.use_ema:
        yield
        return
    trained = [tf.identity(variable.value) for variable in variables]
    optimizer.finalize_variable_values(list(variables))
    try:
        yield
    finally:
        if not keep:
            for variable, value in zip(variables, trained, strict=True):
                variable.value.assign(value)
