"""What the log of a pod shows."""

from __future__ import annotations

import logging

from components.trainer.progress import LOGGER


def set_up() -> None:
    """Warnings of all, and what our own loggers tell of the work, such as a training's progress.

    Nobody else does: TFX tells its own logger to speak, and leaves the others to Python's default,
    which is warnings alone.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger(LOGGER.name.partition(".")[0]).setLevel(logging.INFO)
