"""Adam and its learning rate, against Keras's and against the formulas."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.trainer.config import StageConfig
from components.trainer.optimizer import Adam, learning_rate

SHAPES = {"kernel": (3, 4), "bias": (4,), "embeddings": (5, 2)}


def weights() -> list[keras.Variable]:
    random = np.random.default_rng(0)
    return [
        keras.Variable(random.normal(size=shape), dtype="float64", name=name)
        for name, shape in SHAPES.items()
    ]


def gradients(step: int) -> list[tf.Tensor]:
    random = np.random.default_rng(step + 1)
    return [tf.constant(random.normal(size=shape)) for shape in SHAPES.values()]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.95)])
def test_it_takes_the_steps_of_keras(weight_decay, betas):
    stage = StageConfig(
        steps=30, schedule="constant", warmup=0.5, betas=betas, weight_decay=weight_decay
    )
    ours, theirs = weights(), weights()
    optimizer = Adam(stage, ours)
    rates = keras.optimizers.schedules.CosineDecay(
        0.0, 1, alpha=1.0, warmup_target=stage.learning_rate, warmup_steps=15
    )
    reference = keras.optimizers.AdamW(
        rates, weight_decay=weight_decay, beta_1=betas[0], beta_2=betas[1]
    )
    reference.exclude_from_weight_decay(var_list=theirs[1:])
    reference.build(theirs)
    for step in range(30):
        for variable, value in optimizer.updates(gradients(step)):
            variable.assign(value)
        reference.apply(gradients(step), theirs)
    for own, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-7)


def test_updates_assign_nothing():
    ours = weights()
    optimizer = Adam(StageConfig(), ours)
    before = [each.numpy() for each in [*ours, *optimizer.variables]]
    optimizer.updates(gradients(0))
    for variable, value in zip([*ours, *optimizer.variables], before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize(
    ("schedule", "halfway"), [("cosine", 0.55), ("linear", 0.55), ("constant", 1.0)]
)
def test_the_rate_rises_and_then_falls(schedule, halfway):
    stage = StageConfig(steps=1000, learning_rate=2.0, warmup=0.2, schedule=schedule)
    rate = [float(learning_rate(stage, step)) for step in range(1001)]
    assert rate[0] == 0.0
    np.testing.assert_allclose(rate[100], 1.0)
    np.testing.assert_allclose(rate[200], 2.0)
    np.testing.assert_allclose(rate[600], 2.0 * halfway, rtol=1e-4)
    np.testing.assert_allclose(
        rate[1000], 2.0 * (1.0 if schedule == "constant" else 0.1), rtol=1e-6
    )
    np.testing.assert_allclose(learning_rate(stage, 5000), rate[1000])  # not beyond the end


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_a_short_training_has_a_rate_at_every_step(steps):
    stage = StageConfig(steps=steps, learning_rate=1.0, warmup=0.0)
    rate = [float(learning_rate(stage, step)) for step in range(steps + 1)]
    assert rate[0] == 0.0  # the warm-up is one step at least
    assert np.all(np.isfinite(rate))
    assert np.all(np.array(rate[1:]) > 0.0)


def test_cosine_is_that_of_keras():
    stage = StageConfig(steps=500, learning_rate=3e-4, warmup=0.02)
    reference = keras.optimizers.schedules.CosineDecay(
        0.0, 490, alpha=0.1, warmup_target=3e-4, warmup_steps=10
    )
    for step in (0, 3, 10, 11, 123, 250, 499, 500):
        np.testing.assert_allclose(
            learning_rate(stage, step), reference(step), rtol=1e-5, atol=1e-12
        )
