"""How far the spectra of a waveform are from those of its original, in dB."""

from __future__ import annotations

import math

import numpy as np

from models.audio.aligned import check_aligned

# Seconds of a frame, and from one to the next.
_FRAME, _HOP = 0.032, 0.008
# What is softer counts as this, dB below a sine of full scale: differences that nobody hears.
_SOFTEST = -80.0


def log_spectral_distance(original: np.ndarray, other: np.ndarray, rate: int) -> float:
    """Root mean square over frequencies of the difference of levels, the mean over frames; dB.

        LSD = mean_t √(mean_f (10 log₁₀ P(t, f) - 10 log₁₀ P̂(t, f))²)

    (Gray & Markel 1976.) P is the power of frames of 32 ms under a Hann window, 8 ms apart.
    Phases do not count. 0 for equal spectra; NaN of waveforms shorter than a frame.

    Args:
        original, other: float `[samples]`, aligned; 1 is full scale.
        rate: of both, Hz.

    Raises:
        ValueError: they are not equally long.
    """
    check_aligned(original, other)
    size, hop = round(_FRAME * rate), round(_HOP * rate)
    if len(original) < size:
        return math.nan
    difference = _levels(original, size, hop) - _levels(other, size, hop)
    return float(np.sqrt(np.square(difference).mean(axis=1)).mean())


def _levels(samples: np.ndarray, size: int, hop: int) -> np.ndarray:
    """dB below a sine of full scale: `[frames, frequencies]`."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    window = np.hanning(size + 1)[:-1]
    power = np.square(np.abs(np.fft.rfft(frames * window)) * (2.0 / window.sum()))
    return 10.0 * np.log10(np.maximum(power, 10.0 ** (_SOFTEST / 10.0)))
