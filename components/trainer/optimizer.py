"""The optimizer of a training: Adam with decoupled weight decay, and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from components.trainer.config import StageConfig
from models.updates import Updates


class Adam:
    """Adam (Kingma & Ba 2014), with decoupled weight decay (Loshchilov & Hutter 2019).

        m ← β₁m + (1 - β₁)g      v ← β₂v + (1 - β₂)g²
        w ← w - α·λ·w - α·m̂ / (√v̂ + ε)

    m̂ and v̂ are m and v without the bias of their start at 0, α the learning rate, λ the weight
    decay, which kernels have and biases, norms and tables of embeddings do not.

    It computes and assigns nothing: a step of Keras's optimizers asks the strategy to assign,
    which no compiled step may do, and leaves no way to skip a step but a branch.

    Args:
        stage: rates.
        variables: what is trained. To be called in the scope of their strategy.

    Attributes:
        iterations: int64 variable, steps taken.
    """

    EPSILON = 1e-7

    def __init__(self, stage: StageConfig, variables: Sequence[keras.Variable]):
        self._stage = stage
        self._trained = list(variables)
        self._means = [_zeros_like(each) for each in variables]
        self._squares = [_zeros_like(each) for each in variables]
        self.iterations = state_variable("iterations", (), "int64")

    @property
    def variables(self) -> list[keras.Variable]:
        """What a checkpoint must hold."""
        return [self.iterations, *self._means, *self._squares]

    def learning_rate(self, step):
        """α after `step` steps, an integer scalar; float32."""
        return learning_rate(self._stage, step)

    def updates(self, gradients: Sequence[tf.Tensor]) -> Updates:
        """Weights and moments after a step with these gradients of the whole batch."""
        beta1, beta2 = self._stage.betas
        done = tf.convert_to_tensor(self.iterations)
        rate = self.learning_rate(done)
        updates: Updates = [(self.iterations, done + 1)]
        slots = zip(self._trained, self._means, self._squares, gradients, strict=True)
        for variable, mean, square, gradient in slots:
            weight, m, v = (tf.convert_to_tensor(each) for each in (variable, mean, square))
            alpha, count = tf.cast(rate, weight.dtype), tf.cast(done + 1, weight.dtype)
            m += (gradient - m) * (1.0 - beta1)
            v += (tf.square(gradient) - v) * (1.0 - beta2)
            unbiased = tf.sqrt(1.0 - beta2**count) / (1.0 - beta1**count)
            moved = weight - m * (alpha * unbiased) / (tf.sqrt(v) + self.EPSILON)
            if self._stage.weight_decay and _decays(variable):
                moved -= weight * alpha * self._stage.weight_decay
            updates += [(variable, moved), (mean, m), (square, v)]
        return updates


def warmup_steps(stage: StageConfig) -> int:
    """Steps in which the learning rate rises."""
    return max(1, round(stage.warmup * stage.steps))


def learning_rate(stage: StageConfig, step):
    """Rises from 0 over `warmup_steps`, then falls as `stage.schedule` says; float32 scalar."""
    step, warmup = tf.cast(step, tf.float32), float(warmup_steps(stage))
    progress = tf.clip_by_value((step - warmup) / max(1.0, stage.steps - warmup), 0.0, 1.0)
    fallen = {
        "cosine": 0.5 * (1.0 - tf.cos(math.pi * progress)),
        "linear": progress,
        "constant": tf.zeros_like(progress),
    }[stage.schedule]
    decayed = 1.0 - (1.0 - stage.final_learning_rate) * fallen
    return stage.learning_rate * tf.where(step < warmup, step / warmup, decayed)


def state_variable(name: str, shape: tuple[int, ...], dtype: str, value=0) -> keras.Variable:
    """State of a training: the same on every replica, never trained.

    To be called in the scope of the strategy. int64 rather than int32, which TensorFlow keeps on
    the CPU, out of reach of a step that is compiled for a GPU.
    """
    return keras.Variable(
        keras.initializers.Constant(value),
        shape=shape,
        dtype=dtype,
        trainable=False,
        autocast=False,
        aggregation="only_first_replica",
        name=name,
    )


def _zeros_like(variable: keras.Variable) -> keras.Variable:
    return state_variable(f"{variable.name}_moment", tuple(variable.shape), variable.dtype)


def _decays(variable: keras.Variable) -> bool:
    return len(variable.shape) > 1 and not variable.name.startswith("embedding")
