"""What a training loop is told of the network that it trains."""

from __future__ import annotations

from typing import Protocol

import keras
import tensorflow as tf

from components.trainer.records import Batch
from components.trainer.source import Source


class Objective(Protocol):
    """A network, the loss of a batch, and a held-out evaluation.

    Attributes:
        stage: `vqvae` or `prior`.
        model: the network.
        monitor: name of the held-out value by which weights are compared; less is better.
    """

    stage: str
    model: keras.Model
    monitor: str

    def loss(self, batch: Batch, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """`loss` (scalar, the mean over the batch) and what else is worth following."""

    def describe(self, means: dict[str, tf.Tensor]) -> dict[str, float]:
        """Scalars to log from the means that `loss` returned over some steps."""

    def check(self, described: dict[str, float]) -> None:
        """PipelineError if a training, once warmed up, is not worth going on with."""

    def evaluate(self, held_out: Source) -> dict[str, float]:
        """Scalars over the whole held-out split."""

    def show(self, step: int) -> None:
        """Writes images or histograms to the current TensorBoard writer."""
