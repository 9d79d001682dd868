"""Audio files decoded block by block by FFmpeg's libraries (PyAV), as one channel of floats."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, NoReturn

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from components.audio import limits
from components.audio.container import Container
from components.audio.limits import AudioLimits
from components.audio.unusable import UnusableAudio

# What is decoded in the containers that are read; FFmpeg has hundreds more, less well looked at.
_PCM = ("u8", "s16le", "s24le", "s32le", "s64le", "f32le", "f64le", "alaw", "mulaw")
_CODECS = (
    *(f"pcm_{kind}" for kind in _PCM),
    *("adpcm_ms", "adpcm_ima_wav", "flac", "vorbis", "opus", "g722"),
    *("mp3float", "mp3", "mp2float", "mp2", "mp1float", "mp1"),
)
# Without these a damaged frame becomes noise, or a gap that nobody is told of.
_STRICT = {"err_detect": "crccheck+explode"}

# Sample formats of FFmpeg -> what is full scale.
_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63, "flt": 1.0, "dbl": 1.0}
# How far floats may lie beyond full scale, as mixes do; those of 16-bit numbers lie far beyond.
_OVERSHOOT = 4.0
# Seconds that may be missing at the end, where encoders count the silence that they add and skip.
_SLACK = {"ogg": 0.1, "mp3": 0.1}


def mono_blocks(source: Container, allowed: AudioLimits) -> Iterator[tuple[np.ndarray, int]]:
    """Decodes a file as it is asked for, and no more of it than is allowed.

    Only the bytes are read, and nothing that they name: no file, no address.

    Args:
        source: the file.
        allowed: what it may be.

    Yields:
        float32 [n], the mean of the channels, full scale being -1 to 1; and the rate in Hz, which
        is the same for all blocks.

    Raises:
        UnusableAudio: for damage, other codecs, NaN, too long or too short audio, and the like;
            perhaps after some blocks.
    """
    damaged = UnusableAudio(f"truncated or corrupt {source.name}")
    try:
        with av.open(
            io.BytesIO(source.data),
            "r",
            format=source.kind,
            container_options={"codec_whitelist": ",".join(_CODECS)},
            metadata_errors="replace",
            io_open=_open_nothing,
        ) as opened:
            stream = _audio_stream(opened, source)
            rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
            samples = 0
            for frame in opened.decode(stream):
                if (frame.sample_rate, frame.layout.nb_channels) != (rate, channels):
                    raise UnusableAudio("changes its rate or channels midway")
                samples += frame.samples
                # Before they are resampled: at a low rate one block may be minutes.
                allowed.check_not_longer(samples, rate)
                yield _mono(frame), rate
            if samples / rate < _announced(stream, source):
                raise damaged
            allowed.check_not_shorter(samples, rate)
    except av.FFmpegError as error:
        raise damaged from error


def _audio_stream(opened: InputContainer, source: Container) -> AudioStream:
    """The first stream of sound, to be decoded strictly."""
    if not opened.streams.audio:
        raise UnusableAudio("no sound in it", f"{source.name} without an audio stream")
    stream = opened.streams.audio[0]
    codec = stream.codec_context
    if codec is None or codec.name not in _CODECS:
        raise UnusableAudio("a codec that is not read", codec.name if codec else "unknown")
    limits.check_channels(codec.channels)
    limits.check_rate(codec.sample_rate)
    codec.options = _STRICT
    codec.thread_count = 1
    return stream


def _announced(stream: AudioStream, source: Container) -> float:
    """Seconds that there must be by what the file says; 0 where it does not say."""
    if not source.has_length or not stream.duration or not stream.time_base:
        return 0.0
    return float(stream.duration * stream.time_base) - _SLACK.get(source.kind, 0.0)


def _open_nothing(address: str, *_: Any) -> NoReturn:
    raise UnusableAudio("names another file", address)


def _mono(frame: AudioFrame) -> np.ndarray:
    """float32 [n], the mean of a frame's channels."""
    kind = frame.format.name.removesuffix("p")
    if kind not in _FULL_SCALE:
        raise UnusableAudio("a codec that is not read", f"samples of {kind}")
    values = frame.to_ndarray()  # [channels, n], or [1, n · channels] where they are interleaved
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if kind in ("flt", "dbl"):
        if not np.isfinite(values).all():
            raise UnusableAudio("NaN or infinite samples")
        if (peak := float(np.abs(values).max(initial=0))) > _OVERSHOOT:
            raise UnusableAudio("floats beyond full scale", f"up to {peak:g} instead of 1")
    mono = values.mean(axis=0, dtype=np.float64)
    if kind == "u8":
        mono -= _FULL_SCALE["u8"]
    return (mono / _FULL_SCALE[kind]).astype(np.float32)
