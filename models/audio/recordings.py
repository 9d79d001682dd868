"""Recordings of any length to windows of one length."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from models.arguments import require
from models.audio.config import AudioConfig

# An operation that fails is named in the error, and the name is all that it lets us say.
_UNDECODABLE = "audio_undecodable"


class Windows(NamedTuple):
    """M windows, those of a recording one after the other.

    Attributes:
        samples: float32 `[M, window_samples]`, 1 is full scale.
        recording: int64 `[M]`, the row of the recording that each is from.
    """

    samples: tf.Tensor
    recording: tf.Tensor


def decode_wav(encoded, audio: AudioConfig) -> tf.RaggedTensor:
    """Samples of WAV files: 16-bit PCM, of one channel, at the rate of the configuration.

    Args:
        encoded: string `[N]`.
        audio: `rate`.

    Returns:
        float32 `[N, (samples)]` in [-1, 1).

    Raises:
        tf.errors.InvalidArgumentError: when run, naming `audio`, for anything else, and for a
            file without samples.
    """

    def one(file):
        samples, rate = tf.audio.decode_wav(file, name=_UNDECODABLE)
        count, channels = tf.unstack(tf.shape(samples))
        requirements = [
            require(tf.equal(rate, audio.rate), f"audio must have {audio.rate} Hz", rate),
            require(tf.equal(channels, 1), "audio must have one channel", channels),
            require(count > 0, "audio must have samples", count),
        ]
        with tf.control_dependencies(requirements):
            return tf.identity(samples[:, 0])

    with tf.device("/CPU:0"):  # where the decoder is
        return tf.map_fn(
            one,
            tf.convert_to_tensor(encoded),
            fn_output_signature=tf.RaggedTensorSpec([None], tf.float32, ragged_rank=0),
        )


def cut(recordings: tf.RaggedTensor, audio: AudioConfig) -> Windows:
    """Windows of recordings, `frames_between` rows of a spectrogram apart.

    Args:
        recordings: float32 `[N, (samples)]`.
        audio: sizes, and what is done with the end that does not fill a window.
    """
    lengths, starts = recordings.row_lengths(), recordings.row_starts()
    counts = window_counts(lengths, audio)
    recording = tf.repeat(tf.range(tf.size(counts, tf.int64)), counts)
    before = tf.cumsum(counts, exclusive=True)  # windows of the recordings before
    number = tf.range(tf.size(recording, tf.int64)) - tf.gather(before, recording)
    first = number * (audio.frames_between * audio.hop)
    places = first[:, None] + tf.range(audio.window_samples, dtype=tf.int64)  # (M, samples)
    there = places < tf.gather(lengths, recording)[:, None]
    rows = tf.gather(starts, recording)[:, None] + tf.where(there, places, 0)
    samples = tf.where(there, tf.gather(recordings.flat_values, rows), 0.0)
    return Windows(tf.ensure_shape(samples, [None, audio.window_samples]), recording)


def window_counts(lengths, audio: AudioConfig):
    """How many windows recordings have: int64 samples `[N]` -> int64 `[N]`.

    With `tail: pad` every recording with samples has one; with `drop` a short one has none.
    """
    window, hop = audio.window_samples, audio.frames_between * audio.hop
    lengths = tf.cast(lengths, tf.int64)
    rest = lengths - window  # behind the first window
    if audio.tail == "drop":
        return tf.where(rest >= 0, rest // hop + 1, 0)
    counts = tf.maximum(-(-rest // hop), 0) + 1
    return tf.where(lengths > 0, counts, 0)
