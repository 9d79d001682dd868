"""What one compiled step does with gradients, on a model of a few weights."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.trainer import steps
from components.trainer.averages import Averages
from components.trainer.config import StageConfig
from components.trainer.optimizer import Adam
from components.trainer.prior import PriorObjective
from components.trainer.steps import Steps
from components.trainer.utilisation import flops_of_an_image
from models.config import PriorConfig
from models.part import Part
from models.precision import precision
from models.priors import GatedPixelCNN


class Line:
    """loss = factor · mean(x·w); the gradient of w is factor · mean(x)."""

    stage = "vqvae"

    def __init__(self, factor=1.0, dtype="float32"):
        with precision(dtype):
            self.model = keras.Sequential([keras.layers.Dense(1, use_bias=False)])
            self.model.build((None, 2))
        self.factor = tf.Variable(factor)

    def loss(self, batch, step, part):
        loss = tf.cast(self.factor, self.model.compute_dtype) * self.model(batch["x"])
        return {"loss": tf.reduce_mean(loss), "statistics": {}}

    def updates(self, losses, statistics):
        return []


def trained(objective, stage, **arguments) -> tuple[Steps, Adam]:
    strategy = tf.distribute.get_strategy()
    optimizer = Adam(stage, objective.model.trainable_variables)
    averages = Averages(objective.model, stage.weight_ema)
    return Steps(objective, optimizer, averages, strategy, stage, **arguments), optimizer


def batches(x=(3.0, 4.0)):
    return iter(tf.data.Dataset.from_tensors({"x": tf.constant([x])}).repeat())


@pytest.mark.parametrize("clip", [0.5, 100.0])
def test_a_gradient_is_clipped_to_the_norm_asked_for(clip):
    stepping, optimizer = trained(Line(), StageConfig(gradient_clip=clip))
    stepping.run(batches(), 1)
    _, mean, _ = optimizer.variables
    # The first moment after a step is a tenth of the gradient, whose norm is 5.
    np.testing.assert_allclose(np.linalg.norm(mean), 0.1 * min(clip, 5.0), rtol=1e-5)


def test_a_compiled_step_is_compiled_by_xla():
    class Uncompilable(Line):
        def loss(self, batch, step, part):
            losses = super().loss(batch, step, part)
            text = tf.strings.as_string(losses["loss"])  # XLA knows no strings
            return {**losses, "text": tf.strings.to_number(text)}

    trained(Uncompilable(), StageConfig())[0].run(batches(), 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="XLA"):
        trained(Uncompilable(), StageConfig(), jit_compile=True)[0].run(batches(), 1)


def loss_scale(stepping: Steps) -> float:
    return float(next(each for each in stepping.variables if each.name == "loss_scale").numpy())


def test_float16_goes_on_after_an_overflow_and_doubles_its_scale_again(monkeypatch):
    monkeypatch.setattr(steps, "_STEPS_TO_DOUBLE", 3)
    # 4 · 2¹⁵ is more than float16 has.
    objective = Line(dtype="float16")
    stepping, _ = trained(objective, StageConfig(warmup=0.0), scale_loss=True)
    before = objective.model.trainable_variables[0].numpy()
    stepping.run(batches(), 1)
    assert (stepping.step, stepping.skipped, loss_scale(stepping)) == (1, 1, 2.0**14)
    np.testing.assert_array_equal(objective.model.trainable_variables[0], before)
    assert stepping.culprit.startswith("the gradient of")
    while stepping.skipped:
        stepping.run(batches(), 1)
    scale = loss_scale(stepping)
    assert scale == 2.0 ** (15 - stepping.skipped_in_all)

    objective.factor.assign(1e-2)  # room for more
    stepping.run(batches(), 1)
    assert loss_scale(stepping) == scale
    stepping.run(batches(), 1)  # the third in a row
    assert loss_scale(stepping) == 2.0 * scale
    for _ in range(3):
        assert loss_scale(stepping) == 2.0 * scale
        stepping.run(batches(), 1)
    assert loss_scale(stepping) == 4.0 * scale
    assert np.all(objective.model.trainable_variables[0].numpy() != before)


def test_the_scale_of_the_loss_does_not_reach_the_weights():
    found = []
    for scaled in (False, True):
        objective = Line()
        objective.model.set_weights([np.array([[1.0], [2.0]])])
        stepping, optimizer = trained(objective, StageConfig(warmup=0.0), scale_loss=scaled)
        totals = stepping.run(batches(), 5)
        found.append([*objective.model.get_weights(), *optimizer.variables, totals["loss"]])
    for plain, scaled in zip(*found, strict=True):
        np.testing.assert_allclose(plain, scaled, rtol=1e-5)


def test_the_operations_of_a_step_are_counted():
    objective = Line()
    stepping, _ = trained(objective, StageConfig())

    class Two:
        def once(self, batch_size):
            return tf.data.Dataset.from_tensors({"x": tf.zeros([7, 2])})

    # A product of 2 terms forwards, 2 backwards to the weights; a few more around them.
    assert 8 <= flops_of_an_image(stepping.gradients, Two()) <= 16


class Labels:
    """A prior that keeps the labels that it is told."""

    config = PriorConfig(unconditional_fraction=0.3)
    code_shape = (1, 1)

    def log_prob(self, codes, labels, dropout_key=None):
        self.told = labels
        return tf.zeros(tf.shape(labels))

    def sample(self):
        raise NotImplementedError


def told(step: int, part: Part, labels) -> np.ndarray:
    prior = Labels()
    objective = PriorObjective(prior, None, seed=4)
    batch = {"codes": tf.zeros([len(labels), 1, 1], tf.int32), "label": tf.constant(labels)}
    objective.loss(batch, tf.constant(step, tf.int64), part)
    return prior.told.numpy()


def test_a_share_of_the_labels_is_hidden_and_another_at_each_step():
    labels = np.arange(2000, dtype="int32")
    first, second = told(0, Part(), labels), told(1, Part(), labels)
    for found in (first, second):
        assert 0.25 < np.mean(found == -1) < 0.35
        np.testing.assert_array_equal(found[found != -1], labels[found != -1])
    assert np.any((first == -1) != (second == -1))
    halves = [told(1, Part(index, 2), labels[index * 1000 :][:1000]) for index in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), second)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_prior_that_knows_nothing_needs_log2_k_bits_for_a_code(groups):
    prior = GatedPixelCNN(PriorConfig(layers=1, hidden_units=4), 8, 3, (2, 2, groups)[: groups + 1])
    for weight in (prior.logits.kernel, prior.logits.bias):
        weight.assign(tf.zeros_like(weight))
    objective = PriorObjective(prior, None, 0)
    codes = tf.zeros([5, *prior.code_shape], tf.int32)
    labels = tf.constant([0, 1, 2, -1, 7])

    class HeldOut:
        def once(self, batch_size):
            return tf.data.Dataset.from_tensor_slices({"codes": codes, "label": labels}).batch(2)

    found = objective.evaluate(HeldOut())
    assert found == pytest.approx({"bits_per_code": 3.0, "bits_per_code_given_label": 3.0})
    losses = objective.loss({"codes": codes, "label": labels % 3}, tf.constant(0, tf.int64), Part())
    assert float(losses["loss"]) == pytest.approx(math.log(8.0))
    assert objective.describe({"loss": losses["loss"]})["bits_per_code"] == pytest.approx(3.0)
