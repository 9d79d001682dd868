"""Batches of a training, shared among its replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import tensorflow as tf

from components.errors import PipelineError
from components.trainer.augment import Augment
from components.trainer.config import StageConfig
from components.trainer.source import Share, Source


def distributed(
    train: Source,
    strategy: tf.distribute.Strategy,
    batch_size: int,
    seed: int,
    augment: Augment | None,
) -> Callable[[int], Iterator]:
    """Step to begin with -> batches from there on, each replica's part on its device."""

    def begin(start: int) -> Iterator:
        def dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            count = context.num_replicas_in_sync // context.num_input_pipelines
            first = context.input_pipeline_id * count
            share = Share(first, count, context.num_replicas_in_sync)
            return train.batches(batch_size, seed, start, share, augment)

        # Several replicas get their parts ahead of time, each on its device, by themselves.
        batches = strategy.distribute_datasets_from_function(dataset)
        gpus = tf.config.list_logical_devices("GPU")
        if isinstance(batches, tf.data.Dataset) and gpus:
            batches = batches.apply(tf.data.experimental.prefetch_to_device(gpus[0].name, 2))
        return iter(batches)

    return begin


def check_batch(name: str, stage: StageConfig, strategy: tf.distribute.Strategy) -> None:
    """PipelineError if the replicas cannot share a batch evenly."""
    replicas, parts = strategy.num_replicas_in_sync, stage.gradient_accumulation
    if stage.batch_size % (replicas * parts):
        shared = f"{replicas} replicas" if replicas > 1 else "one replica"
        shared += f" in {parts} parts each" if parts > 1 else ""
        raise PipelineError(
            f"training.{name}.batch_size is {stage.batch_size}, which {shared} cannot share "
            f"evenly; make it a multiple of {replicas * parts}"
        )
