"""What a training loop is told of the network that it trains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from components.trainer.records import Batch
from models.part import Part
from models.updates import Updates


class HeldOut(Protocol):
    """A held-out split."""

    def once(self, batch_size: int) -> Iterable[Batch]:
        """Every record once, in an order that is always the same; the last batch may be smaller."""


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

    def loss(self, batch: Batch, step: tf.Tensor, part: Part) -> dict[str, Any]:
        """Losses of a part of the batch of a step; changes nothing.

        Returns:
            `loss` (scalar, the mean over the part), other scalars worth following, means too,
            and `statistics`, a dict of tensors that add up over the parts.
        """

    def updates(self, losses: dict[str, tf.Tensor], statistics: dict[str, tf.Tensor]) -> Updates:
        """State of the model after a step, but for what the gradient moves.

        Args:
            losses, statistics: of the whole batch, as `loss` returns them.
        """

    def describe(self, means: dict[str, np.ndarray]) -> dict[str, float]:
        """Scalars to log from the means of losses and statistics over some steps."""

    def check(self, means: dict[str, np.ndarray]) -> None:
        """PipelineError if a training, once warmed up, is not worth going on with.

        Args:
            means: of losses and statistics, over the steps between two evaluations.
        """

    def evaluate(self, held_out: HeldOut) -> dict[str, float]:
        """Scalars over the whole held-out split."""

    def show(self, step: int) -> None:
        """Writes images or histograms to the current TensorBoard writer."""
