"""Windows of recordings, as WAV files."""

import io
import wave

import numpy as np
import pytest
import tensorflow as tf

from models.audio.recordings import decode_windows
from tests.models.audio.signals import small

WINDOW = 64 * 32


def wav(samples, rate: int = 8000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((channels, width, rate, 0, "NONE", ""))
        writer.writeframes(np.asarray(samples, f"<i{width}").tobytes())
    return file.getvalue()


def test_windows_are_as_long_as_one_window():
    audio = small()
    given = [np.random.default_rng(0).integers(-(2**15), 2**15, n) for n in (WINDOW, 10, 1)]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def decode(files):
        return decode_windows(files, audio)

    expected = [np.pad(each / 2**15, (0, WINDOW - len(each))) for each in given]
    np.testing.assert_array_equal(decode([wav(each) for each in given]), expected)
    assert decode(np.array([], object).astype(str)).shape == (0, WINDOW)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (wav([1, 2], rate=16000), "audio must have 8000 Hz. Received:.*16000"),
        (wav([1, 2], channels=2), "audio must have one channel. Received:.*2"),
        (wav([]), "audio must have samples"),
        (wav(range(WINDOW + 1)), f"audio must have at most {WINDOW} samples, a window"),
        (wav([1, 2], width=1), "audio_undecodable"),
        (wav(range(100))[:-7], "audio_undecodable"),
        (b"", "audio must be WAV files"),
        (b"RIFF" + bytes(60), "audio must be WAV files"),
        (wav([1, 2])[:16], "audio_undecodable"),
    ],
    ids=[
        "rate",
        "channels",
        "empty",
        "too long",
        "8 bits",
        "cut off",
        "nothing",
        "zeros",
        "its beginning",
    ],
)
def test_what_is_not_as_it_must_be_is_refused(file, message):
    audio = small()
    spec = [tf.TensorSpec([None], tf.string)]
    decode = tf.function(lambda files: decode_windows(files, audio), input_signature=spec)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){message}"):
        decode([wav([1, 2]), file])
