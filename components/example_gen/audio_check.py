"""Records of recordings: all must decode, and become windows of one length at one rate."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from components import features
from components.audio.limits import AudioLimits
from components.audio.normalised import normalised, reason_unusable
from components.audio.unusable import UnusableAudio
from components.audio.windows import windows
from components.example_gen import parsing
from components.example_gen.check import UNUSABLE, Sorted
from components.example_gen.config import Fields
from components.example_gen.halving import by_halves
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
        names = self.names

        def assigned(part: tf.Tensor) -> tuple[np.ndarray, ...]:
            label_type = parsing.label_type(part[0].numpy(), names)
            assign = _assignment(num_buckets, by_payload, names, label_type)
            return tuple(tensor.numpy() for tensor in assign(part))

        unusable = (np.array([UNUSABLE]), np.array([0]), np.array([False]))
        parts = [part.made or unusable for part in by_halves(records, assigned, parsing.REFUSALS)]
        buckets, labels, has_label = map(np.concatenate, zip(*parts, strict=True))
        written: list[list[bytes]] = []
        for place, record in enumerate(records.numpy()):
            usable = buckets[place] != UNUSABLE
            made = self._written(record, int(labels[place])) if usable else []
            if not made:
                buckets[place] = UNUSABLE
            written.append(made)
        return Sorted(buckets, labels, has_label, written)

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


@functools.cache  # traced once per process, not once per file
def _assignment(
    num_buckets: int, by_payload: bool, names: Fields, label_type: tf.DType
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """A function: records, string [N] -> bucket int64 [N], label int64 [N], has label bool [N]."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def assign(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        parsed = parsing.parse(records, names, label_type)
        key = parsed.payloads if by_payload else records
        buckets = tf.strings.to_hash_bucket_fast(key, num_buckets)
        unusable = tf.constant(UNUSABLE, tf.int64)
        return tf.where(parsed.usable, buckets, unusable), parsed.labels, parsed.has_label

    return assign
