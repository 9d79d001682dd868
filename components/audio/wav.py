"""The audio that the pipeline works with: WAV files of one channel of 16-bit PCM."""

from __future__ import annotations

import struct

import numpy as np

HEADER_BYTES = 44
_PCM, _CHANNELS, _SAMPLE_BYTES = 1, 1, 2
_FULL_SCALE = 2.0**15


def encode_wav(samples: np.ndarray, rate: int) -> bytes:
    """A WAV file of int16 [N] at `rate` Hz; equal samples give equal bytes."""
    data = samples.astype("<i2").tobytes()
    return _header(len(data), rate) + data


def samples_of(data: bytes, rate: int) -> np.ndarray | None:
    """int16 [N] of a file that `encode_wav` wrote at this rate; None of any other file."""
    size = len(data) - HEADER_BYTES
    if size < 0 or size % _SAMPLE_BYTES or data[:HEADER_BYTES] != _header(size, rate):
        return None
    return np.frombuffer(data, "<i2", offset=HEADER_BYTES)


def sixteen_bits(samples: np.ndarray) -> np.ndarray:
    """int16 of floats of any shape, of which 1 is full scale and more is cut off."""
    levels = np.rint(samples * _FULL_SCALE)
    return np.clip(levels, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def floats(samples: np.ndarray) -> np.ndarray:
    """float64 of int16, of which 1 is full scale; `sixteen_bits` gives them back."""
    return samples / _FULL_SCALE


def _header(size: int, rate: int) -> bytes:
    """Of `size` bytes of samples."""
    riff = struct.pack("<4sI4s", b"RIFF", HEADER_BYTES - 8 + size & 0xFFFFFFFF, b"WAVE")
    second = rate * _CHANNELS * _SAMPLE_BYTES
    layout = (_PCM, _CHANNELS, rate, second, _CHANNELS * _SAMPLE_BYTES, 8 * _SAMPLE_BYTES)
    format_chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, *layout)
    return riff + format_chunk + struct.pack("<4sI", b"data", size & 0xFFFFFFFF)
