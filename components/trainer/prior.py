"""Trainer of the prior: `run_fn` of a TFX Trainer."""

from __future__ import annotations

import functools
import math
import os
from typing import Any

import numpy as np
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from components import features
from components.trainer import run, warm_start
from components.trainer.config import PriorSettings
from components.trainer.executor import BASELINE
from components.trainer.export import export
from components.trainer.objective import HeldOut
from components.trainer.pictures import image_grid
from components.trainer.records import Batch, parse_codes, read_num_classes
from components.trainer.strategy import build_strategy, is_chief
from models.export import restore_vqvae
from models.memory import codes_at_once
from models.part import Part
from models.precision import precision
from models.priors import Prior, build_prior
from models.sampler import sample
from models.updates import Updates
from models.vqvae import VQVAE

_SHOWN_PER_ROW = 8


def run_fn(fn_args: FnArgs) -> None:
    """Fits the prior on the Tokenizer's codes and writes the combined model."""
    settings = run.read_settings(fn_args, PriorSettings)
    strategy = build_strategy(settings.strategy)
    run.make_reproducible(settings.seed, settings.deterministic)
    network = settings.network
    num_codes = network.model.quantizer.num_codes
    data = run.read_data(fn_args, parse_codes(network.code_shape, num_codes), settings)
    baseline = fn_args.custom_config.get(BASELINE)
    # As many as the VQ-VAE was trained with: every image has its codes here.
    classes = read_num_classes(fn_args.train_files)
    vqvae = VQVAE(network, data_variance=1.0, num_classes=classes)
    restore_vqvae(vqvae, fn_args.base_model)

    def new_prior(recompute: bool = False) -> Prior:
        shape = network.code_shape
        return build_prior(settings.prior, num_codes, classes, shape, settings.seed, recompute)

    with strategy.scope(), precision(settings.mixed_precision):
        prior = new_prior(settings.recompute)
        # In a release the VQ-VAE's weights come first.
        before = len(vqvae.variables)
        begun_with = warm_start.begin(prior, settings.warm_start, baseline, "prior", before)
    objective = PriorObjective(prior, vqvae, settings.seed)
    weights = os.path.join(fn_args.base_model, "variables", "variables.data-*")
    inputs = [weights, *warm_start.weights(baseline)]
    run.train(objective, data, strategy, settings, fn_args, inputs)
    if not is_chief(strategy):
        return

    released = new_prior()
    run.copy_weights(prior, released)
    samples = PriorObjective(released, vqvae, settings.seed).samples()
    began_with = {"vqvae": warm_start.read_record(fn_args.base_model), "prior": begun_with}
    export(
        vqvae,
        released,
        samples,
        fn_args.transform_graph_path,
        settings.kind,
        fn_args.serving_model_dir,
        began_with,
    )


class PriorObjective:
    """Negative log-likelihood of the codes, in nats per code."""

    stage = "prior"
    monitor = "bits_per_code"

    def __init__(self, prior: Prior, vqvae: VQVAE, seed: int):
        self.model = prior
        self._vqvae = vqvae
        self._seed = seed
        self._codes_per_image = math.prod(prior.code_shape)
        self._log_prob = tf.function(prior.log_prob, reduce_retracing=True)
        self._sample = tf.function(functools.partial(sample, prior))

    def loss(self, batch: Batch, step: tf.Tensor, part: Part) -> dict[str, Any]:
        labels = self._hide_some(batch[features.LABEL], step, part)
        key = tf.stack([tf.constant(self._seed, tf.int64), step * part.of + part.number])
        log_prob = self.model.log_prob(batch[features.CODES], labels, dropout_key=key)
        return {"loss": -tf.reduce_mean(log_prob) / self._codes_per_image, "statistics": {}}

    def updates(self, losses: dict[str, tf.Tensor], statistics: dict[str, tf.Tensor]) -> Updates:
        return []

    def _hide_some(self, labels, step, part: Part):
        """Labels with a share of them replaced by -1, so that both kinds of sampling work."""
        fraction = self.model.config.unconditional_fraction
        seed = tf.stack([tf.constant(self._seed, tf.int64), step])
        # Drawn for the whole batch, of which this is a part.
        count = tf.shape(labels)[0]
        drawn = tf.random.stateless_uniform([count * part.of], seed, alg="philox")
        hidden = drawn[part.number * count : (part.number + 1) * count] < fraction
        return tf.where(hidden, features.NO_LABEL, labels)

    def describe(self, means: dict[str, np.ndarray]) -> dict[str, float]:
        nats = float(means["loss"])
        return {"loss": nats, "bits_per_code": nats / math.log(2.0)}

    def check(self, means: dict[str, np.ndarray]) -> None:
        pass

    def evaluate(self, held_out: HeldOut) -> dict[str, float]:
        conditional, unconditional, images = 0.0, 0.0, 0
        prior = self.model
        at_once = codes_at_once(prior.config, prior.code_shape, prior.num_codes)
        for batch in held_out.once(at_once):
            codes, labels = batch[features.CODES], batch[features.LABEL]
            # A label that training never saw says nothing.
            known = tf.where(labels < self.model.num_classes, labels, features.NO_LABEL)
            none = tf.fill(tf.shape(labels), features.NO_LABEL)
            conditional -= float(tf.reduce_sum(self._log_prob(codes, known)))
            unconditional -= float(tf.reduce_sum(self._log_prob(codes, none)))
            images += int(tf.shape(labels)[0])
        bits = images * self._codes_per_image * math.log(2.0)
        values = {"bits_per_code": unconditional / bits}
        if self.model.num_classes:
            values["bits_per_code_given_label"] = conditional / bits
        return values

    def show(self, step: int) -> None:
        tf.summary.image("samples", self.samples()[None], step=step)

    def samples(self) -> tf.Tensor:
        """Drawn images, a row per class, or one if there are none: uint8 `[H, W, C]`."""
        classes = range(min(self.model.num_classes, 10)) or [features.NO_LABEL]
        labels = tf.repeat(tf.constant(list(classes), tf.int32), _SHOWN_PER_ROW)
        codes = self._sample(labels, tf.constant(self._seed, tf.int64), 1.0)
        images = self._vqvae.decode(codes, labels)
        rows = tf.reshape(images, [len(classes), _SHOWN_PER_ROW, *images.shape[1:]])
        return image_grid(rows)
