"""Progress of a training, as log records that a command line can draw and a log file can keep."""

from __future__ import annotations

import dataclasses
import logging
import time

LOGGER = logging.getLogger("vqvae.training")


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a training is; the `progress` attribute of the log records of `LOGGER`.

    Attributes:
        stage: `vqvae` or `prior`.
        step, steps: done and to do.
        images_per_second: over the last interval.
        eta: seconds to the last step at that speed.
        values: name -> formatted value, such as `nmse` -> `0.0312`.
    """

    stage: str
    step: int
    steps: int
    images_per_second: float
    eta: float
    values: dict[str, str]

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.eta), 60)
        values = " · ".join(f"{name} {value}" for name, value in self.values.items())
        return (
            f"{self.stage}: step {self.step:,}/{self.steps:,} · "
            f"{self.images_per_second:,.0f} images/s · ETA {minutes}:{seconds:02d} · {values}"
        )


class Meter:
    """Speed and remaining time of a training."""

    def __init__(self, stage: str, step: int, steps: int, batch_size: int):
        self._stage, self._steps, self._batch_size = stage, steps, batch_size
        self._step, self._time = step, time.monotonic()

    def report(self, step: int, values: dict[str, str]) -> float:
        """Logs the progress at `step`; returns images per second since the last report."""
        now = time.monotonic()
        rate = (step - self._step) / max(now - self._time, 1e-9)
        self._step, self._time = step, now
        eta = (self._steps - step) / rate if rate else 0.0
        progress = Progress(self._stage, step, self._steps, rate * self._batch_size, eta, values)
        LOGGER.info("%s", progress, extra={"progress": progress})
        return progress.images_per_second

    def restart(self) -> None:
        """Leaves out what happened since the last report, such as an evaluation."""
        self._time = time.monotonic()
