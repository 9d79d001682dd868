"""Recordings on files: what is encoded of them, and what becomes of codes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from components.audio import wav
from components.audio.limits import AudioLimits
from components.audio.normalised import normalised
from components.audio.unusable import UnusableAudio
from components.audio.windows import end_to_end, windows
from components.errors import PipelineError
from components.features import DataKind
from models.audio.config import AudioConfig
from models.medium import rows_at_once
from pipeline.inference.codes_file import Codes
from pipeline.inference.found_files import FoundFiles, UnusableFile
from pipeline.inference.models import Drawn, Models
from pipeline.inference.new_files import file_names

# Of a recording that is encoded, whatever was let into training: it bounds the memory, which at
# 16 kHz is 110 MiB.
_MOST_SECONDS = 3600.0
# Of files in whose place WAV files come.
_REPLACED = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".g722")


class SoundFiles:
    """Recordings of any format that `components.audio` reads, and WAV files.

    Attributes: see `pipeline.inference.image_files.ImageFiles`.

    Args:
        audio: settings of the release.
    """

    kind: DataKind = "audio"
    thing = "recording"
    suffix = ".wav"

    def __init__(self, audio: AudioConfig):
        self._audio = audio

    def reading(self, found: FoundFiles) -> SoundReading:
        """What is encoded of files."""
        return SoundReading(found, self._audio)

    def names(self, stored: Codes) -> list[PurePosixPath]:
        """Of the files that become of codes, one for each recording."""
        first = np.ones(len(stored), bool) if stored.windows is None else stored.windows == 0
        names = stored.names[first].tolist()
        return file_names(names, self.suffix, _REPLACED, self.thing)

    def decoded(
        self, models: Models, source: Path, stored: Codes, labels: np.ndarray | None
    ) -> Iterator[np.ndarray]:
        """Sound float32 [samples] of each recording, in order.

        The spectrograms of its windows are put together before they become sound, so that no
        border is heard.

        Raises:
            PipelineError: they are codes of images, or contradict themselves.
        """
        if stored.samples is None or stored.windows is None:
            raise PipelineError(
                f"{source}: its codes are not of recordings, but release "
                f"{models.identity('decode').release} is of audio; decode with the release that "
                "made them"
            )
        parts = _recordings(source, stored, self._audio.window_samples)
        frames = itertools.chain.from_iterable(models.decode_stream(stored.codes, labels))
        for part in parts:
            joined = np.concatenate(list(itertools.islice(frames, part.stop - part.start)))
            yield self._sound(models, joined, int(stored.samples[part].sum()))

    def drawn(self, drawn: Drawn) -> np.ndarray:
        """Of samples what is written, float32 [N, samples]."""
        assert drawn.audio is not None
        return drawn.audio

    def drawn_columns(self, drawn: Drawn, count: int) -> dict[str, Any]:
        """Of a file of codes of `count` samples, each a window."""
        return {
            "sizes": np.zeros([count, 2], np.int32),
            "samples": np.full([count], self._audio.window_samples, np.int64),
            "windows": np.zeros([count], np.int64),
        }

    def write(self, path: Path, sound: np.ndarray) -> None:
        """Writes sound float32 [samples], of -1 to 1, as 16-bit WAV, and the folders above it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav.encode_wav(wav.sixteen_bits(sound), self._audio.rate))

    def _sound(self, models: Models, frames: np.ndarray, samples: int) -> np.ndarray:
        """float32 [samples] of a spectrogram uint8 [T, mels, 1]; behind its end is padding."""
        allowed = rows_at_once(self._audio)
        frames = frames[: max(-(-samples // self._audio.hop), allowed[0])]
        # About equal parts: none is so short that it cannot be made.
        pieces = np.array_split(frames, -(-len(frames) // allowed[-1]))
        return np.concatenate([models.waveform(piece[None])[0] for piece in pieces])[:samples]


class SoundReading:
    """What is encoded of recordings: windows end to end, and the last one as long as it is.

    Training may have let windows overlap, or dropped the ends; here all of a recording is wanted,
    and once.
    """

    def __init__(self, found: FoundFiles, audio: AudioConfig):
        self._found = found
        self._audio = end_to_end(audio)
        most = max(audio.max_seconds, _MOST_SECONDS)
        self._allowed = AudioLimits(audio.rate, audio.min_seconds, most)
        self._rows: list[tuple[int, int, int]] = []  # recording, window, samples

    def encoded(self) -> Iterator[bytes]:
        """WAV files of a window each; notes what they are of."""
        for number, recording in enumerate(self._found.read(self._read, SoundFiles.thing)):
            for window, cut in enumerate(windows(recording, self._audio)):
                self._rows.append((number, window, (len(cut) - wav.HEADER_BYTES) // 2))
                yield cut

    def path(self, index: int) -> Path:
        """The file of one of `encoded`."""
        return self._found.paths[self._rows[index][0]]

    def columns(self) -> dict[str, Any]:
        """Of a file of codes of all of `encoded`."""
        recordings, numbers, samples = np.array(self._rows, np.int64).T
        return {
            "names": np.array(self._found.names(), dtype=np.str_)[recordings],
            "sizes": np.zeros([len(recordings), 2], np.int32),
            "samples": samples,
            "windows": numbers,
        }

    def _read(self, data: bytes, name: str) -> bytes:
        try:
            return normalised(data, self._allowed, name)
        except UnusableAudio as error:
            raise UnusableFile(str(error)) from error


def _recordings(source: Path, stored: Codes, window_samples: int) -> list[slice]:
    """The rows of each recording.

    Raises:
        PipelineError: they do not follow each other end to end.
    """
    assert stored.samples is not None
    assert stored.windows is not None
    numbers, count = stored.windows, len(stored)
    starts = np.flatnonzero(numbers == 0)
    ends = np.append(starts[1:], count)[: len(starts)]
    lengths = ends - starts
    expected = np.arange(count) - np.repeat(starts, lengths) if lengths.sum() == count else None
    if expected is None or (numbers != expected).any():
        raise PipelineError(
            f"{source}: the windows of its recordings do not follow each other; encode them again"
        )
    least = np.where(np.isin(np.arange(count), ends - 1), 1, window_samples)
    wrong = np.flatnonzero((stored.samples < least) | (stored.samples > window_samples))
    if len(wrong):
        row = wrong[0]
        raise PipelineError(
            f"{source}: window {numbers[row]} of {stored.names[row]} has {stored.samples[row]:,} "
            f"samples, and a window of the release has {window_samples:,}; encode it again"
        )
    return [slice(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
