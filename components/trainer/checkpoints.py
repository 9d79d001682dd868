"""Checkpoints of a training: the last few, and the best."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from components.errors import PipelineError, after
from components.object_store.folder import is_remote
from components.trainer.checkpoint_mirror import CheckpointMirror


class Checkpoints:
    """What a training is continued from, in a directory that outlives the run.

    Of several workers the chief alone has one, and hands on what it has read (`copies.broadcast`):
    two processes that write and clean up one folder take each other's files away.

    A checkpoint appears whole or not at all: TensorFlow writes it under another name first.

    Args:
        directory: for the checkpoints, a folder or a URI; `best/` in it for the best.
        variables: what is kept, by kind.
        keep: how many of the last are kept.
    """

    def __init__(
        self, directory: str, variables: Mapping[str, Sequence[keras.Variable]], keep: int
    ):
        self._mirror = CheckpointMirror(directory) if is_remote(directory) else None
        if self._mirror:
            directory = str(self._mirror.path)
        # Variables by name of list and place: followed through its attributes, a Keras model
        # loses the layers that it keeps in Python lists.
        self._checkpoint = tf.train.Checkpoint(
            **{kind: [each.value for each in found] for kind, found in variables.items()}
        )
        self._last = tf.train.CheckpointManager(self._checkpoint, directory, max_to_keep=keep)
        best = os.path.join(directory, "best")
        self._best = tf.train.CheckpointManager(self._checkpoint, best, max_to_keep=1)

    def restore_last(self, steps: int) -> bool:
        """Goes back to the last checkpoint of at most `steps` steps; False where there is none."""
        fitting = [path for path in self._last.checkpoints if _step(path) <= steps]
        return self._restore(fitting[-1] if fitting else None)

    def restore_best(self) -> bool:
        """Goes back to the best checkpoint; False where there is none."""
        return self._restore(self._best.latest_checkpoint)

    def save(self, step: int) -> None:
        """Keeps the training as it is now.

        Raises:
            PipelineError: it cannot be written; those before it are still there.
        """
        self._save(self._last, step)

    def save_best(self, step: int) -> None:
        """As `save`, in the place of the best."""
        self._save(self._best, step)

    def _restore(self, path: str | None) -> bool:
        if not path:
            return False
        self._checkpoint.restore(path).assert_consumed()
        return True

    def _save(self, manager: tf.train.CheckpointManager, step: int) -> None:
        before = manager.latest_checkpoint
        try:
            manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            with after(error, "what was written of it is left"):
                _remove_partial(f"{manager.directory}/ckpt-{step}", error)
            kept = f"the one before it, {before}, is intact" if before else "there is none before"
            reason = getattr(error, "message", None) or str(error)
            raise PipelineError(
                f"the checkpoint of step {step} cannot be written to {manager.directory} "
                f"({reason.splitlines()[0][:200]}); {kept}. Make room and run the same command: "
                "training goes on from there"
            ) from error
        if self._mirror:
            self._mirror.push()


def _step(path: str) -> int:
    return int(path.rsplit("-", 1)[1])


def _remove_partial(prefix: str, failure: Exception) -> None:
    """Takes away what a failed writer left, which may be what filled the disk."""
    for path in tf.io.gfile.glob(f"{prefix}.*") + tf.io.gfile.glob(f"{prefix}_temp*"):
        with after(failure, f"{path} is left"):
            if tf.io.gfile.isdir(path):
                tf.io.gfile.rmtree(path)
            else:
                tf.io.gfile.remove(path)
