"""Audio as the pipeline works with it, made of whatever valid audio comes in."""

from __future__ import annotations

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from components.audio.container import container_of
from components.audio.decoded import mono_blocks
from components.audio.limits import AudioLimits, check_heard
from components.audio.unusable import UnusableAudio
from components.audio.wav import encode_wav, samples_of


def normalised(data: bytes, allowed: AudioLimits, name: str = "") -> bytes:
    """WAV, FLAC, Ogg (Vorbis or Opus), MP3 or raw G.722 as WAV: 16-bit PCM, mono, at one rate.

    Channels are averaged. 16-bit mono at the wanted rate passes bit by bit; what this function
    made it gives back as it is. Memory is bounded by the result and one block of the file,
    whatever the file announces.

    Args:
        data: the file.
        allowed: the rate of the result, and how long audio may be.
        name: of the file; raw G.722 is known by it.

    Returns:
        a WAV file that `tf.audio.decode_wav` reads.

    Raises:
        UnusableAudio: undecodable, truncated, empty, silent, too short, too long, with NaN, of a
            rate or a number of channels that no recording has.
    """
    there = samples_of(data, allowed.rate)
    if there is not None:
        allowed.check_not_longer(len(there), allowed.rate)
        allowed.check_not_shorter(len(there), allowed.rate)
        check_heard(*_range(there))
        return data
    samples = _resampled(data, allowed, name)
    check_heard(*_range(samples))
    return encode_wav(samples, allowed.rate)


def reason_unusable(data: bytes, allowed: AudioLimits, name: str = "") -> tuple[str, str] | None:
    """Why audio cannot be used, in a few words, and what it has instead; None if it can."""
    try:
        normalised(data, allowed, name)
    except UnusableAudio as error:
        return error.reason, error.detail
    return None


def _resampled(data: bytes, allowed: AudioLimits, name: str) -> np.ndarray:
    """int16 [N] at the wanted rate."""
    resampler = AudioResampler(format="s16", layout="mono", rate=allowed.rate)
    parts: list[np.ndarray] = []
    for block, rate in mono_blocks(container_of(data, name), allowed):
        if len(block):
            frame = AudioFrame.from_ndarray(block[None], format="fltp", layout="mono")
            frame.sample_rate = rate
            parts += (each.to_ndarray()[0] for each in resampler.resample(frame))
    parts += (each.to_ndarray()[0] for each in resampler.resample(None))
    return np.concatenate([np.zeros(0, np.int16), *parts])


def _range(samples: np.ndarray) -> tuple[int, int]:
    """The smallest and the largest of int16 [N]."""
    return (int(samples.min()), int(samples.max())) if len(samples) else (0, 0)
