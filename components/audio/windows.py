"""Recordings of any length to windows of one length."""

from __future__ import annotations

import numpy as np

from components.audio.wav import encode_wav, samples_of
from models.audio.config import AudioConfig


def windows(wav: bytes, audio: AudioConfig) -> list[bytes]:
    """The windows of a recording, `frames_between` rows of a spectrogram apart.

    Args:
        wav: as `normalised` makes it.
        audio: sizes, and what is done with the end that does not fill a window.

    Returns:
        WAV files; the last may be shorter than a window with `tail: pad`, as padding is left to
        whoever makes spectrograms. With `tail: drop` a recording shorter than a window has none.
    """
    samples = samples_of(wav, audio.rate)
    if samples is None:
        raise ValueError("`wav` must be what `normalised` makes at the rate of `audio`")
    return [encode_wav(samples[part], audio.rate) for part in _parts(samples, audio)]


def end_to_end(audio: AudioConfig) -> AudioConfig:
    """The settings with which windows hold all of a recording, and once."""
    return audio.model_copy(update={"window_hop": None, "tail": "pad"})


def _parts(samples: np.ndarray, audio: AudioConfig) -> list[slice]:
    size, step = audio.window_samples, audio.frames_between * audio.hop
    return [slice(step * n, step * n + size) for n in range(window_count(len(samples), audio))]


def window_count(samples: int, audio: AudioConfig) -> int:
    """How many windows a recording of so many samples has."""
    size, step = audio.window_samples, audio.frames_between * audio.hop
    rest = samples - size  # behind the first window
    if audio.tail == "drop":
        return rest // step + 1 if rest >= 0 else 0
    return max(-(-rest // step), 0) + 1 if samples else 0
