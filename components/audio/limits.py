"""What is let in, and at which rate it comes out."""

from __future__ import annotations

from dataclasses import dataclass

from components.audio.unusable import UnusableAudio

MAX_CHANNELS = 8
# Of 32,768: 60 dB below full scale, the noise of a line on which nobody speaks.
_SILENT = 33
# Hz. Studios record at up to 384,000; below the lowest there is no speech.
RATES = range(1_000, 768_001)
# Samples by which resampling may change a length: what it makes must not be refused afterwards.
_ROUNDING = 1


@dataclass(frozen=True)
class AudioLimits:
    """What audio becomes, and which lengths it may have."""

    rate: int = 16_000  # Hz
    min_seconds: float = 0.1
    max_seconds: float = 120.0  # more is not decoded either

    def __post_init__(self) -> None:
        if self.rate not in RATES:
            raise ValueError(
                f"rate must be from {RATES[0]} to {RATES[-1]} Hz. Received: {self.rate}"
            )
        if not 0 < self.min_seconds <= self.max_seconds:
            raise ValueError(
                "min_seconds must be above 0, and max_seconds not below it. Received: "
                f"{self.min_seconds:g} and {self.max_seconds:g}"
            )

    def check_not_longer(self, samples: int, rate: int) -> None:
        """Refuses audio that has so many samples at `rate` Hz already."""
        if samples > self.max_seconds * rate + _ROUNDING:
            raise UnusableAudio(f"longer than {self.max_seconds:g} s")

    def check_not_shorter(self, samples: int, rate: int) -> None:
        """Refuses audio that has only so many samples at `rate` Hz."""
        if samples < self.min_seconds * rate - _ROUNDING:
            raise UnusableAudio(f"shorter than {self.min_seconds:g} s", f"{samples / rate:.3g} s")


def check_channels(channels: int) -> None:
    """Refuses what no recording of a speaker has."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise UnusableAudio(f"not 1 to {MAX_CHANNELS} channels", f"{channels:,}")


def check_rate(rate: int) -> None:
    """Refuses what is no sample rate of audio, in Hz."""
    if rate not in RATES:
        raise UnusableAudio(f"not a sample rate of {RATES[0]:,} to {RATES[-1]:,} Hz", f"{rate:,}")


def check_heard(lowest: float, highest: float) -> None:
    """Refuses audio whose 16-bit samples all lie between these two, if they hardly differ."""
    if highest - lowest < 2 * _SILENT:
        raise UnusableAudio("silent")
