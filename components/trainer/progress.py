"""Progress of a training, as log records that a command line can draw and a log file can keep."""

from __future__ import annotations

import dataclasses
import logging
import math
import time

LOGGER = logging.getLogger("vqvae.training")


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a training is; the `progress` attribute of the log records of `LOGGER`.

    Attributes:
        stage: `vqvae` or `prior`.
        step, steps: done and to do.
        images_per_second: over the last interval, of all devices together.
        devices: that train together.
        mfu: model FLOPs utilisation, the share of the devices' peak that the model's arithmetic
            takes; NaN where the peak is not known.
        eta: seconds to the last step at that speed.
        values: name -> formatted value, such as `nmse` -> `0.0312`.
    """

    stage: str
    step: int
    steps: int
    images_per_second: float
    devices: int
    mfu: float
    eta: float
    values: dict[str, str]

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.eta), 60)
        speed = f"{self.images_per_second:,.0f} images/s"
        if self.devices > 1:
            speed += f" ({self.images_per_second / self.devices:,.0f} a device)"
        if not math.isnan(self.mfu):
            speed += f" · MFU {self.mfu:.1%}"
        values = " · ".join(f"{name} {value}" for name, value in self.values.items())
        return (
            f"{self.stage}: step {self.step:,}/{self.steps:,} · {speed} · "
            f"ETA {minutes}:{seconds:02d} · {values}"
        )

    @property
    def scalars(self) -> dict[str, float]:
        """The speed, for TensorBoard."""
        known = {} if math.isnan(self.mfu) else {"mfu": self.mfu}
        return {
            "images_per_second": self.images_per_second,
            "images_per_second_per_device": self.images_per_second / self.devices,
            **known,
        }


class Meter:
    """Speed and remaining time of a training.

    Args:
        stage, step, steps: as of `Progress`, at the start.
        batch_size: images of a step.
        devices: that share it.
        seconds_at_peak: seconds that the arithmetic of an image takes on one device at its peak;
            NaN where that is not known.

    Attributes:
        started: the first report is done, and with it what is compiled.
    """

    def __init__(
        self,
        stage: str,
        step: int,
        steps: int,
        batch_size: int,
        devices: int = 1,
        seconds_at_peak: float = math.nan,
    ):
        self._stage, self._steps, self._batch_size = stage, steps, batch_size
        self._devices, self._seconds_at_peak = devices, seconds_at_peak
        self._step, self._time = step, time.monotonic()
        self.started = False

    def report(self, step: int, values: dict[str, str]) -> Progress | None:
        """Logs the progress at `step`, with the speed since the last report; returns it.

        The first steps are traced and compiled while they run: how long that took is logged
        instead, and nothing returned.
        """
        now = time.monotonic()
        seconds, steps = max(now - self._time, 1e-9), step - self._step
        self._step, self._time = step, now
        if not self.started:
            self.started = True
            LOGGER.info("%s: first step after %.1f s, compilation included", self._stage, seconds)
            return None
        rate = steps / seconds
        speed = rate * self._batch_size
        progress = Progress(
            self._stage,
            step,
            self._steps,
            images_per_second=speed,
            devices=self._devices,
            mfu=speed / self._devices * self._seconds_at_peak,
            eta=(self._steps - step) / rate if rate else 0.0,
            values=values,
        )
        LOGGER.info("%s", progress, extra={"progress": progress})
        return progress

    def restart(self) -> None:
        """Leaves out what happened since the last report, such as an evaluation."""
        self._time = time.monotonic()
