"""Typed settings of spectrograms: how a waveform becomes a gray image, and which parts of it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.section import Positive, Section

# Of the mel scale (O'Shaughnessy 1987): mel = 1127 ln(1 + Hz / 700).
_MEL_SCALE, _MEL_CORNER = 1127.0, 700.0
# No music, and no container, has more.
_MOST_HZ = 192_000
# The settings that decide what an image of so many rows shows.
SPECTROGRAM = ("rate", "fft", "hop", "mels", "lowest", "highest", "range_db", "frames")


class AudioConfig(Section):
    """A spectrogram: a row for each moment, a column for each band of frequencies."""

    # Samples a second, Hz. Default 16,000.
    rate: Annotated[int, Field(ge=1_000, le=_MOST_HZ)] = 16_000
    # Samples of a frame, of which each row is the spectrum; an even number. Default 512: 32 ms.
    fft: Annotated[int, Field(ge=16, le=2**16)] = 512
    # Samples from one row to the next. Default 160: 10 ms.
    hop: Positive = 160
    # Bands, the columns. Default 64: together with `model.encoder.downsampling: [4, 64]` all of
    # a moment gets one code.
    mels: Positive = 64
    # Where the first band begins, Hz. Default 0.
    lowest: Annotated[float, Field(ge=0.0)] = 0.0
    # Where the last band ends, Hz. Default null: half of `rate`.
    highest: Annotated[float, Field(gt=0.0)] | None = None
    # Levels that are told apart, dB below a sine of full scale; what is softer is silence, and
    # black. A grey level is a 255th of it. Default 80: 0.31 dB a level.
    range_db: Annotated[float, Field(ge=10.0, le=120.0)] = 80.0
    # What is shorter than so many seconds is no recording, and left out. Default 0.1.
    min_seconds: Annotated[float, Field(gt=0.0)] = 0.1
    # What is longer is left out, and not decoded beyond it. Seconds, default 120.
    max_seconds: Annotated[float, Field(gt=0.0)] = 120.0
    # Rows of a window of a recording, which is the image that the networks see. Default 128:
    # 1.28 s.
    frames: Positive = 128
    # Rows from the beginning of a window to that of the next. Default null: `frames`, so that
    # they do not overlap.
    window_hop: Positive | None = None
    # What is done with the end of a recording that does not fill a window: `pad` it with silence,
    # or `drop` it, which leaves nothing of a recording shorter than a window. Default pad.
    tail: Literal["pad", "drop"] = "pad"
    # Steps of Griffin and Lim's algorithm, which makes a waveform of a spectrogram. Default 32.
    iterations: Annotated[int, Field(ge=1, le=1_000)] = 32

    @model_validator(mode="after")
    def _consistent(self) -> AudioConfig:
        """What does not go together is a ValueError that names it."""
        if self.fft % 2:
            raise ValueError(f"fft must be an even number of samples. Received: {self.fft}")
        if self.min_seconds > self.max_seconds:
            raise ValueError(
                f"min_seconds ({self.min_seconds:g}) is above max_seconds ({self.max_seconds:g}): "
                "nothing would be let in"
            )
        if 2 * self.hop > self.fft:
            raise ValueError(
                f"hop ({self.hop}) must be at most half of fft ({self.fft}), so that frames "
                "overlap and no sample is lost"
            )
        if self.window_samples <= self.fft:
            raise ValueError(
                f"frames ({self.frames}) · hop ({self.hop}) = {self.window_samples} samples are no "
                f"longer than one frame of fft ({self.fft}); take more frames"
            )
        if self.frames_between > self.frames:
            raise ValueError(
                f"window_hop ({self.frames_between}) is above frames ({self.frames}): what lies "
                "between two windows would be lost"
            )
        if self.band_end > self.rate / 2:
            raise ValueError(
                f"highest ({self.band_end:g} Hz) is above half of rate ({self.rate} Hz), where "
                "there is nothing; lower it, or leave it out"
            )
        if self.lowest >= self.band_end:
            raise ValueError(
                f"lowest ({self.lowest:g} Hz) must be below highest ({self.band_end:g} Hz)"
            )
        self._check_bands()
        return self

    def _check_bands(self) -> None:
        """A band without a frequency of the Fourier transform would be black in every image."""
        edges = self.mel_edges
        resolution = self.rate / self.fft
        for band in range(self.mels):
            low, high = (_hz(edges[band + side]) for side in (0, 2))
            first = math.floor(low / resolution) + 1  # the first frequency above `low`
            if first * resolution >= high:
                raise ValueError(
                    f"mels ({self.mels}) are too many for fft ({self.fft}): no frequency falls "
                    f"into the band from {low:.0f} to {high:.0f} Hz; use fewer mels or a larger fft"
                )

    @property
    def band_end(self) -> float:
        """Where the last band ends, Hz."""
        return self.rate / 2 if self.highest is None else self.highest

    @property
    def mel_edges(self) -> list[float]:
        """On the mel scale, where bands begin, are widest and end: band b has edges b to b + 2."""
        first, last = to_mel(self.lowest), to_mel(self.band_end)
        step = (last - first) / (self.mels + 1)
        return [first + step * edge for edge in range(self.mels + 2)]

    @property
    def frames_between(self) -> int:
        """Rows from the beginning of a window to that of the next."""
        return self.frames if self.window_hop is None else self.window_hop

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return self.frames * self.hop

    @property
    def decibels_per_level(self) -> float:
        """dB from a grey level to the next."""
        return self.range_db / 255.0


def to_mel(hz: float) -> float:
    """The mel of a frequency in Hz."""
    return _MEL_SCALE * math.log1p(hz / _MEL_CORNER)


def _hz(mel: float) -> float:
    return _MEL_CORNER * math.expm1(mel / _MEL_SCALE)
