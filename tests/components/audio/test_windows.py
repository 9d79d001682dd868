"""Recordings of any length, and the windows that they are cut into."""

import numpy as np
import pytest

from components.audio.wav import encode_wav, samples_of
from components.audio.windows import window_count, windows
from tests.models.audio.signals import small

RATE, HOP, WINDOW = 8000, 32, 64 * 32


def written_out(samples, step: int, tail: str) -> list[np.ndarray]:
    found, start = [], 0
    while start == 0 or start + WINDOW - step < len(samples):
        piece = samples[start : start + WINDOW]
        if len(piece) == WINDOW or tail == "pad":
            found.append(piece)
        start += step
    return found


@pytest.mark.parametrize("tail", ["pad", "drop"])
@pytest.mark.parametrize("window_hop", [None, 24])
@pytest.mark.parametrize(
    "length", [3 * WINDOW, 10, 3 * WINDOW + 1, WINDOW - 1, WINDOW, 5 * WINDOW - 77]
)
def test_windows_cover_a_recording(length, window_hop, tail):
    audio = small(tail=tail, window_hop=window_hop)
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, length).astype(np.int16)
    found = windows(encode_wav(samples, RATE), audio)
    expected = written_out(samples, audio.frames_between * HOP, tail)
    assert len(found) == len(expected) == window_count(length, audio)
    for window, piece in zip(found, expected, strict=True):
        np.testing.assert_array_equal(samples_of(window, RATE), piece)


def test_only_what_is_normalised_is_cut():
    with pytest.raises(ValueError, match="normalised"):
        windows(encode_wav(np.ones(10, np.int16), 2 * RATE), small())
