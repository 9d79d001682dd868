"""One utterance on its way into a data set."""

from __future__ import annotations

from typing import NamedTuple

from components import example_record
from components.features import AUDIO, ID, LABEL, SOURCE


class Utterance(NamedTuple):
    """A recording of one speaker."""

    audio: bytes  # WAV, FLAC, Ogg or MP3
    label: int | None  # speaker
    id: bytes  # what side files know it by
    rate: int  # Hz, as it is stored
    seconds: float
    source: bytes = b""  # name of the file that it was read from

    @property
    def content(self) -> bytes:
        return self.audio

    def example(self) -> bytes:
        features: dict[str, bytes | int] = {AUDIO: self.audio, ID: self.id}
        if self.label is not None:
            features[LABEL] = self.label
        if self.source:
            features[SOURCE] = self.source
        return example_record.encode(features)
