"""Short-time Fourier transforms as long as their input, and back."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from models.audio.config import AudioConfig


def stft(samples, audio: AudioConfig):
    """Spectra of frames that are `hop` samples apart, each under a Hann window.

    The samples are continued by their mirror image at both ends, so that T · hop samples have T
    frames, the first of which is centred on the middle of the first `hop` samples.

    Args:
        samples: float32 `[N, T · hop]`, more than half a frame of them.
        audio: sizes.

    Returns:
        complex64 `[N, T, fft / 2 + 1]`.
    """
    padded = tf.pad(samples, [[0, 0], list(_margins(audio))], mode="REFLECT")
    frames = tf.signal.frame(padded, audio.fft, audio.hop)
    return tf.signal.rfft(frames * window(audio))


def istft(spectra, audio: AudioConfig):
    """The samples whose `stft` is nearest to given spectra (Griffin & Lim 1984, eq. 6).

        x(n) = Σ_t w(n - t·hop) y_t(n - t·hop) / Σ_t w²(n - t·hop)

    y_t is the inverse transform of frame t, w the window. Exact where the spectra are those of a
    waveform; otherwise the nearest but for the mirrored ends.

    Args:
        spectra: complex64 `[N, T, fft / 2 + 1]`.
        audio: sizes.

    Returns:
        float32 `[N, T · hop]`.
    """
    w = window(audio)
    left, _ = _margins(audio)
    length = tf.shape(spectra)[1] * audio.hop
    frames = tf.signal.irfft(spectra, [audio.fft]) * w
    added = tf.signal.overlap_and_add(frames, audio.hop)[:, left : left + length]
    squares = tf.broadcast_to(tf.square(w), tf.shape(frames)[1:])
    weight = tf.signal.overlap_and_add(squares, audio.hop)[left : left + length]
    samples = spectra.shape[1] and spectra.shape[1] * audio.hop
    return tf.ensure_shape(added / weight, [spectra.shape[0], samples])


def window(audio: AudioConfig) -> np.ndarray:
    """The periodic Hann window, float32 `[fft]`."""
    turns = np.arange(audio.fft) / audio.fft
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * turns)).astype(np.float32)


def full_scale(audio: AudioConfig) -> float:
    """|stft|² of a sine of amplitude 1, summed over the frequencies that it spreads to.

    By Parseval's theorem fft · Σ w² / 4; what a spectrum is divided by for power in units of it.
    """
    return audio.fft * float(np.square(window(audio), dtype=np.float64).sum()) / 4.0


def _margins(audio: AudioConfig) -> tuple[int, int]:
    """Samples in front of and behind the given ones, so that each hop has one frame around it."""
    left = (audio.fft - audio.hop) // 2
    return left, audio.fft - audio.hop - left
