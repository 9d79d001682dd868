"""Trainer of the VQ-VAE: `run_fn` of a TFX Trainer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from components import contents, features
from components.errors import PipelineError
from components.trainer import run, warm_start
from components.trainer.augment import build_augment
from components.trainer.config import VQVAESettings
from components.trainer.executor import BASELINE
from components.trainer.objective import HeldOut
from components.trainer.pictures import image_grid
from components.trainer.records import Batch, parse_images, read_num_classes, read_pixel_variance
from components.trainer.source import Source
from components.trainer.strategy import build_strategy, is_chief
from models import metrics
from models.export import export_vqvae
from models.memory import images_at_once
from models.part import Part
from models.precision import precision
from models.updates import Updates
from models.vqvae import VQVAE

# Encodings per code that the codebook is first placed on, and the most of them altogether: a
# large codebook gets fewer per code, so that the start stays short beside the training.
_POINTS_PER_CODE = 128
_MOST_POINTS = 2**18
_SHOWN = 16
# Far from the seeds that people choose: augmentation draws from those, with the same steps.
_JITTER_SEED = 1 << 32


def run_fn(fn_args: FnArgs) -> None:
    """Fits the VQ-VAE on transformed Examples and writes its SavedModel."""
    settings = run.read_settings(fn_args, VQVAESettings)
    strategy = build_strategy(settings.strategy)
    run.make_reproducible(settings.seed, settings.deterministic)
    baseline = fn_args.custom_config.get(BASELINE)
    data_variance = read_pixel_variance(fn_args.train_files)
    classes = read_num_classes(fn_args.train_files)
    if settings.network.model.decoder.conditional and not classes:
        raise PipelineError(
            "vqvae: model.decoder.conditional is true, but no training record has a label; give "
            "the records `label`, or leave it out"
        )
    pixels = contents.read(contents.artifact_of(fn_args.train_files[0])).pixels
    data = run.read_data(fn_args, parse_images(settings.network.image, pixels), settings)
    with strategy.scope(), precision(settings.mixed_precision):
        vqvae = VQVAE(settings.network, data_variance, settings.seed, settings.recompute, classes)
        begun_with = warm_start.begin(vqvae, settings.warm_start, baseline, "vqvae")
    shown = next(iter(data.held_out.once(_SHOWN)))
    objective = VQVAEObjective(
        vqvae,
        shown[features.IMAGE],
        settings.stage.min_code_usage,
        shown_labels=shown[features.LABEL],
        seed=settings.seed,
    )
    augment = build_augment(settings.stage.flip, settings.stage.shift)

    def start() -> None:
        if not begun_with.startswith("release"):
            place_codebook(vqvae, data.train, settings.seed)

    inputs = warm_start.weights(baseline)
    run.train(objective, data, strategy, settings, fn_args, inputs, augment, start)
    if is_chief(strategy):
        released = VQVAE(settings.network, data_variance, settings.seed, num_classes=classes)
        run.copy_weights(vqvae, released)
        export_vqvae(released, fn_args.serving_model_dir)
        warm_start.write_record(fn_args.serving_model_dir, begun_with)


def place_codebook(vqvae: VQVAE, train: Source, seed: int) -> None:
    """Starts the quantizer on encodings of training images (k-means; fsq: their spread)."""
    quantizer = vqvae.config.model.quantizer
    if not quantizer.starts_on_data:
        return
    points = min(_POINTS_PER_CODE * quantizer.num_codes, _MOST_POINTS)
    images = -(-points // (math.prod(vqvae.config.code_grid) * quantizer.groups))
    at_once = min(images_at_once(vqvae.config), images)
    encodings = [
        vqvae.encodings(batch[features.IMAGE])
        for batch in train.batches(at_once, seed).take(-(-images // at_once))
    ]
    vqvae.quantizer.initialize(tf.concat(encodings, axis=0)[:images])


class VQVAEObjective:
    """Reconstruction in the likelihood's unit, plus the quantizer's terms (eq. 3)."""

    stage = "vqvae"
    monitor = "nmse"

    def __init__(
        self,
        vqvae: VQVAE,
        shown: tf.Tensor,
        min_code_usage: float = 0.0,
        shown_labels: tf.Tensor | None = None,
        seed: int = 0,
    ):
        self.model = vqvae
        self._min_code_usage = min_code_usage
        self._shown = shown  # uint8 [N, H, W, C], the same originals at every evaluation
        self._shown_labels = shown_labels  # int32 [N]
        self._seed = seed
        self._measure = tf.function(vqvae.measure, reduce_retracing=True)

    def loss(self, batch: Batch, step: tf.Tensor, part: Part) -> dict[str, Any]:
        asked: dict[str, Any] = {}
        decoder = self.model.config.model.decoder
        if decoder.conditional:
            asked["labels"] = batch[features.LABEL]
        if decoder.time_jitter:
            seed = tf.constant(self._seed + _JITTER_SEED, tf.int64)
            asked["jitter_key"] = tf.stack([seed, tf.cast(step, tf.int64)])
        outputs = self.model(batch[features.IMAGE], training=True, part=part, **asked)
        return {name: each for name, each in outputs.items() if name != "codes"}

    def updates(self, losses: dict[str, tf.Tensor], statistics: dict[str, tf.Tensor]) -> Updates:
        return self.model.updates(losses, statistics)

    def describe(self, means: dict[str, np.ndarray]) -> dict[str, float]:
        used = np.count_nonzero(means["counts"], axis=-1)  # of each codebook
        return {
            "loss": float(means["loss"]),
            self.model.likelihood.loss_name: float(means["reconstruction_loss"]),
            # The quantizer's terms; which there are depends on its kind.
            **{
                name.removesuffix("_loss"): float(value)
                for name, value in means.items()
                if name in ("commitment_loss", "codebook_loss")
            },
            "codes_used": float(np.sum(used)),
            **({f"codes_used_{d}": float(u) for d, u in enumerate(used, 1)} if used.ndim else {}),
        }

    def check(self, means: dict[str, np.ndarray]) -> None:
        # Of all codebooks, where there are several.
        used, num_codes = np.count_nonzero(means["counts"]), means["counts"].size
        if used < self._min_code_usage * num_codes:
            raise PipelineError(
                f"vqvae: the codebook has collapsed, {used} of {num_codes:,} codes are in use "
                f"(training.vqvae.min_code_usage is {self._min_code_usage}); use "
                "model.quantizer.kind ema with kmeans_iterations and restart_threshold above 0, "
                "or a lower training.vqvae.learning_rate"
            )

    def evaluate(self, held_out: HeldOut) -> dict[str, float]:
        config = self.model.config
        quantizer, image = self.model.quantizer, config.image.hwc
        sums = metrics.Sums.zero(quantizer.num_codes, image, codebooks=quantizer.codebooks)
        for batch in held_out.once(images_at_once(config)):
            labels = batch[features.LABEL] if config.model.decoder.conditional else None
            sums.update(self._measure(batch[features.IMAGE], labels))
        names = ("nmse", "psnr", "ssim", "code_usage", "perplexity")  # of each codebook too
        found = metrics.summary(sums)
        return {name: value for name, value in found.items() if name.startswith(names)}

    def show(self, step: int) -> None:
        reconstructions = self.model.decode(self.model.encode(self._shown), self._shown_labels)
        pairs = tf.stack([self._shown, reconstructions], axis=0)  # (2, N, H, W, C)
        tf.summary.image("originals and reconstructions", image_grid(pairs)[None], step=step)
        tf.summary.histogram("codes", self.model.encode(self._shown), step=step)
