"""Windows of recordings, as WAV files, to samples."""

from __future__ import annotations

import tensorflow as tf

from models.arguments import require
from models.audio.config import AudioConfig

# An operation that fails is named in the error, and the name is all that it lets us say.
_UNDECODABLE = "audio_undecodable"
_BEGIN = 12  # bytes that tell a WAV file


def decode_windows(encoded, audio: AudioConfig):
    """Samples of WAV files: 16-bit PCM, of one channel, at the rate of the configuration.

    What is shorter than a window is continued with silence.

    Args:
        encoded: string `[N]`.
        audio: `rate`, and the length of a window.

    Returns:
        float32 `[N, window_samples]` in [-1, 1).

    Raises:
        tf.errors.InvalidArgumentError: when run, naming `audio`, for anything else, for a file
            without samples, and for one that is longer than a window.
    """
    most = audio.window_samples

    def one(file):
        with tf.control_dependencies([_require_wav(file)]):
            samples, rate = tf.audio.decode_wav(file, name=_UNDECODABLE)
        count, channels = tf.unstack(tf.shape(samples))
        requirements = [
            require(tf.equal(rate, audio.rate), f"audio must have {audio.rate} Hz", rate),
            require(tf.equal(channels, 1), "audio must have one channel", channels),
            require(count > 0, "audio must have samples", count),
            require(count <= most, f"audio must have at most {most} samples, a window", count),
        ]
        with tf.control_dependencies(requirements):
            silence = tf.zeros([most - count])
            return tf.ensure_shape(tf.concat([samples[:, 0], silence], 0), [most])

    with tf.device("/CPU:0"):  # where the decoder is
        return tf.map_fn(
            one, tf.convert_to_tensor(encoded), fn_output_signature=tf.TensorSpec([most])
        )


def _require_wav(file) -> tf.Operation:
    """The decoder would repeat the first bytes of another file, be they text or not."""
    size = tf.strings.length(file)
    message = "audio must be WAV files"
    received = tf.strings.format("{} bytes of another kind", size)
    with tf.control_dependencies([require(size >= _BEGIN, message, received)]):
        begin = tf.strings.substr(file, 0, 4) + tf.strings.substr(file, 8, 4)
    return require(tf.equal(begin, b"RIFFWAVE"), message, received)
