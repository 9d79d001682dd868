"""Records of recordings: all must decode, and become windows of one length at one rate."""

from __future__ import annotations

import tensorflow as tf

from components import features
from components.audio.limits import AudioLimits
from components.audio.normalised import normalised, reason_unusable
from components.audio.unusable import UnusableAudio
from components.audio.windows import windows
from components.example_gen import parsing
from components.example_gen.assignment import assign
from components.example_gen.check import UNUSABLE, Sorted
from components.example_gen.config import Fields
from models.audio.config import AudioConfig


class AudioCheck:
    """See `components.example_gen.check.Check`; one recording at a time is in memory, decoded.

    A recording becomes a record for each of its windows: WAV of one channel at the rate of the
    configuration, and the number of the window. All other features stay with each of them. So all
    windows of a recording are in one split.

    Args:
        names: of the features.
        audio: rate, lengths and windows.
    """

    def __init__(self, names: Fields, audio: AudioConfig):
        self.names, self._audio = names, audio
        self._allowed = AudioLimits(audio.rate, audio.min_seconds, audio.max_seconds)

    def sort(self, records: tf.Tensor, num_buckets: int, by_payload: bool) -> Sorted:
        found = assign(records, self.names, num_buckets, by_payload)
        written: list[list[bytes]] = []
        for place, record in enumerate(records.numpy()):
            usable = found.buckets[place] != UNUSABLE
            made = self._written(record, int(found.labels[place])) if usable else []
            if not made:
                found.buckets[place] = UNUSABLE
            written.append(made)
        return Sorted(found.buckets, found.labels, found.has_label, written)

    def undecodable(self, payload: bytes) -> tuple[str, str] | None:
        reason = reason_unusable(payload, self._allowed)
        if reason is None and not windows(normalised(payload, self._allowed), self._audio):
            return "shorter than a window", "data.audio.tail is drop"
        return reason

    def _written(self, record: bytes, label: int) -> list[bytes]:
        """A record for each window; none where the recording cannot be used."""
        try:
            wav = normalised(parsing.payload_of(record, self.names), self._allowed)
        except UnusableAudio:
            return []
        own = parsing.canonical(record, self.names, label)
        return [
            parsing.replaced(own, {features.AUDIO: window, features.WINDOW: number})
            for number, window in enumerate(windows(wav, self._audio))
        ]
