"""How intelligible speech is beside its original: STOI (Taal et al. 2011)."""

from __future__ import annotations

import math

import numpy as np

from models.audio.aligned import check_aligned
from models.audio.resample import resampled

# Of the paper: Hz; samples of a frame and of its Fourier transform; third-octave bands and the
# middle of the first, Hz; frames that are compared together; dB.
_RATE = 10_000
_FRAME, _FFT = 256, 512
_BANDS, _FIRST_BAND = 15, 150.0
_TOGETHER = 30
_LEAST_SDR = -15.0
_SILENCE = 40.0

# Seconds that have so many frames, if none is silent.
SHORTEST = (_FRAME + _TOGETHER * _FRAME // 2 + 1) / _RATE

_TINY = np.finfo(np.float64).eps


def stoi(original: np.ndarray, degraded: np.ndarray, rate: int) -> float:
    """Short-time objective intelligibility: at most 1, which only equal envelopes have.

    (IEEE TASLP 19(7), section II.) Both are brought to 10 kHz, frames that are silent in the
    original are taken out of both, and the envelopes of 15 third-octave bands are correlated over
    stretches of 30 frames, 384 ms, the degraded one scaled to the original's energy (eq. 3) and
    cut off where its signal-to-distortion ratio would be below -15 dB (eq. 4). The result is the
    mean correlation over bands and stretches (eq. 5 and 6).

    Args:
        original, degraded: float `[samples]`, aligned.
        rate: of both, Hz.

    Returns:
        no unit; NaN where fewer than 30 frames are not silent.

    Raises:
        ValueError: they are not equally long.
    """
    check_aligned(original, degraded)
    x, y = _without_silence(resampled(original, rate, _RATE), resampled(degraded, rate, _RATE))
    x, y = _envelopes(x), _envelopes(y)  # (bands, frames)
    if x.shape[1] < _TOGETHER:
        return math.nan
    x, y = (np.lib.stride_tricks.sliding_window_view(each, _TOGETHER, axis=1) for each in (x, y))
    scaled = y * (_norm(x) / (_norm(y) + _TINY))  # (bands, stretches, 30)
    clipped = np.minimum(scaled, x * (1.0 + 10.0 ** (-_LEAST_SDR / 20.0)))
    x, y = (each - each.mean(axis=-1, keepdims=True) for each in (x, clipped))
    correlation = (x * y).sum(axis=-1) / ((_norm(x) * _norm(y))[..., 0] + _TINY)
    return float(correlation.mean())


def _without_silence(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both without the frames in which x is 40 dB below its loudest, put together again."""
    framed, others = _frames(x), _frames(y)
    if not len(framed):
        return x[:0], y[:0]
    energy = 20.0 * np.log10(np.linalg.norm(framed, axis=1) + _TINY)
    kept = energy > energy.max() - _SILENCE
    return _overlapped(framed[kept]), _overlapped(others[kept])


def _envelopes(x: np.ndarray) -> np.ndarray:
    """Root of the power in each third-octave band: `[15, frames]` (eq. 1)."""
    power = np.square(np.abs(np.fft.rfft(_frames(x), _FFT)))
    # Bands begin and end at the frequency of the transform that is nearest.
    edges = _FIRST_BAND * 2.0 ** ((2.0 * np.arange(_BANDS + 1) - 1.0) / 6.0)
    bins = np.rint(edges * _FFT / _RATE).astype(int)
    sums = np.pad(np.cumsum(power, axis=1), [(0, 0), (1, 0)])
    return np.sqrt(np.maximum(sums[:, bins[1:]] - sums[:, bins[:-1]], 0.0)).T


def _frames(x: np.ndarray) -> np.ndarray:
    """Frames half a frame apart under a Hann window: `[frames, 256]`."""
    starts = len(range(0, len(x) - _FRAME, _FRAME // 2))
    if not starts:
        return np.zeros([0, _FRAME])
    around = np.lib.stride_tricks.sliding_window_view(x, _FRAME)
    return around[:: _FRAME // 2][:starts] * np.hanning(_FRAME + 2)[1:-1]


def _overlapped(frames: np.ndarray) -> np.ndarray:
    """The sum of frames half a frame apart."""
    halves = frames.reshape(len(frames), 2, _FRAME // 2)
    total = np.zeros([len(frames) + 1, _FRAME // 2])
    total[:-1] += halves[:, 0]
    total[1:] += halves[:, 1]
    return total.reshape(-1)


def _norm(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x, axis=-1, keepdims=True)
