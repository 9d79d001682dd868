"""Waveforms at another rate."""

from __future__ import annotations

import math

import numpy as np

# Of the filter: what it lets through of frequencies that the result cannot have, dB, and the width
# of the band between those it passes and those it stops, as a share of the highest that it passes.
_REJECTION_DB = 60.0
_ROLL_OFF = 0.1


def resampled(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """The same waveform at another rate, by a Kaiser-windowed sinc (Oppenheim & Schafer, ch. 7).

    Each output is a weighted sum of the samples around it; as many different sets of weights are
    needed as `new_rate` has steps until both rates meet, and all outputs of a set are one product.

    Args:
        samples: float `[samples]`.
        rate, new_rate: Hz.

    Returns:
        float64 `[⌈samples · new_rate / rate⌉]`.
    """
    divisor = math.gcd(rate, new_rate)
    up, down = new_rate // divisor, rate // divisor
    samples = np.asarray(samples, np.float64)
    if up == down:
        return samples
    taps = _low_pass(up, down)
    half = len(taps) // 2
    reach = half // up + 1  # samples on each side that count
    # Around each sample, with weights beyond the filter's ends at 0.
    taps = np.pad(taps, (reach + 1) * up)
    padded = np.pad(samples, (reach, reach + down))
    result = np.empty(-(-len(samples) * up // down))
    offsets = np.arange(-reach, reach + 1)
    around = np.lib.stride_tricks.sliding_window_view(padded, len(offsets))
    for phase in range(min(up, len(result))):
        place, rest = divmod(phase * down, up)
        weights = taps[(reach + 1) * up + half + rest - offsets * up]
        out = result[phase::up]
        out[:] = around[place::down][: len(out)] @ weights
    return result


def _low_pass(up: int, down: int) -> np.ndarray:
    """The filter at `up` times the old rate, which is `down` times the new one."""
    cutoff = 0.5 / max(up, down)  # turns per sample
    half = math.ceil((_REJECTION_DB - 8.0) / (28.714 * _ROLL_OFF * cutoff))
    places = np.arange(-half, half + 1)
    beta = 0.1102 * (_REJECTION_DB - 8.7)
    taps = np.sinc(2.0 * cutoff * places) * np.kaiser(2 * half + 1, beta)
    return taps * (up / taps.sum())
