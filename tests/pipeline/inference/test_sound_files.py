"""Recordings of files of codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.errors import PipelineError
from pipeline.inference.codes_file import Codes
from pipeline.inference.sound_files import SoundFiles
from tests.models.audio.signals import small

AUDIO = small()
WINDOW = AUDIO.window_samples


class Echo:
    """Models whose spectrograms are the codes, and whose sound is the first band."""

    def decode_stream(self, codes, labels=None):
        for start in range(0, len(codes), 2):
            frames = codes[start : start + 2].astype(np.uint8)
            yield np.broadcast_to(frames[..., None], [*frames.shape[:2], AUDIO.mels, 1])

    def waveform(self, frames):
        return frames[:, :, 0, 0].repeat(AUDIO.hop, 1) / np.float32(256)


def stored(windows, samples) -> Codes:
    count = len(windows)
    codes = np.arange(count * AUDIO.frames).reshape(count, AUDIO.frames, 1) % 256
    names = np.array([f"{number}.wav" for number in np.cumsum(np.array(windows) == 0)])
    sizes = np.zeros([count, 2], np.int32)
    rows = {"windows": np.array(windows), "samples": np.array(samples)}
    return Codes(codes.astype(np.int32), names, sizes, 1, "x", **rows)


def test_windows_are_joined_and_padding_is_cut_off():
    codes = stored([0, 1, 2, 0, 0, 1], [WINDOW, WINDOW, 100, WINDOW, WINDOW, 1])
    sounds = list(SoundFiles(AUDIO).decoded(Echo(), Path("c.npz"), codes, None))
    lengths = [2 * WINDOW + 100, WINDOW, WINDOW + 1]
    rows = codes.codes.reshape(6, -1).repeat(AUDIO.hop, 1) / np.float32(256)
    expected = [rows[0:3], rows[3:4], rows[4:6]]
    for sound, part, length in zip(sounds, expected, lengths, strict=True):
        np.testing.assert_array_equal(sound, part.reshape(-1)[:length])


@pytest.mark.parametrize(
    ("windows", "samples", "said"),
    [
        (
            [0, 2, 1],
            [WINDOW, WINDOW, 700],
            "the windows of its recordings do not follow each other",
        ),
        (
            [1, 2, 3],
            [WINDOW, WINDOW, 700],
            "the windows of its recordings do not follow each other",
        ),
        (
            [1, 0, 1],
            [WINDOW, WINDOW, 700],
            "the windows of its recordings do not follow each other",
        ),
        ([0, 1, 2], [WINDOW, 5, 700], "window 1 of 1.wav has 5 samples"),
        ([0, 1, 0], [WINDOW, WINDOW, 0], "window 0 of 2.wav has 0 samples"),
        ([0, 1, 2], [WINDOW, WINDOW, 2**40], "window 2 of 1.wav has 1,099,511,627,776 samples"),
    ],
)
def test_windows_that_contradict_themselves_are_refused(windows, samples, said):
    sounds = SoundFiles(AUDIO).decoded(Echo(), Path("c.npz"), stored(windows, samples), None)
    with pytest.raises(PipelineError) as caught:
        next(sounds)
    assert str(caught.value).startswith(f"c.npz: {said}")


def test_no_recordings_at_all():
    codes = Codes(
        np.zeros([0, AUDIO.frames, 1], np.int32),
        np.array([], dtype=np.str_),
        np.zeros([0, 2], np.int32),
        1,
        "x",
        samples=np.zeros(0, int),
        windows=np.zeros(0, int),
    )
    files = SoundFiles(AUDIO)
    assert files.names(codes) == []
    assert list(files.decoded(Echo(), Path("c.npz"), codes, None)) == []
