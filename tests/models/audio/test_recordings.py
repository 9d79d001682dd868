"""Recordings of any length, and the windows that they are cut into."""

import io
import wave

import numpy as np
import pytest
import tensorflow as tf

from models.audio.recordings import cut, decode_wav, window_counts
from tests.models.audio.signals import small

WINDOW = 64 * 32


def wav(samples, rate: int = 8000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((channels, width, rate, 0, "NONE", ""))
        writer.writeframes(np.asarray(samples, f"<i{width}").tobytes())
    return file.getvalue()


def recordings(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(-(2**15), 2**15, length) for length in lengths]


def written_out(samples, hop: int, tail: str) -> list[np.ndarray]:
    windows = []
    start = 0
    while start == 0 or start + WINDOW - hop < len(samples):
        piece = samples[start : start + WINDOW]
        if len(piece) == WINDOW or tail == "pad":
            windows.append(np.pad(piece, (0, WINDOW - len(piece))))
        start += hop
    return windows


@pytest.mark.parametrize("tail", ["pad", "drop"])
@pytest.mark.parametrize("window_hop", [None, 24])
def test_windows(tail, window_hop):
    audio = small(tail=tail, window_hop=window_hop)
    given = recordings(3 * WINDOW, 10, 3 * WINDOW + 1, WINDOW - 1, WINDOW, 5 * WINDOW - 77)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def windows(files):
        return cut(decode_wav(files, audio), audio)

    found = windows([wav(each) for each in given])
    expected = [written_out(each / 2**15, audio.frames_between * 32, tail) for each in given]
    counts = [len(each) for each in expected]
    np.testing.assert_array_equal(
        found.samples, np.concatenate([each for each in expected if each])
    )
    np.testing.assert_array_equal(found.recording, np.repeat(np.arange(len(given)), counts))
    assert window_counts([len(each) for each in given], audio).numpy().tolist() == counts
    nothing = windows(np.array([], object).astype(str))
    assert nothing.samples.shape == (0, WINDOW)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (wav([1, 2], rate=16000), "audio must have 8000 Hz. Received:.*16000"),
        (wav([1, 2], channels=2), "audio must have one channel. Received:.*2"),
        (wav([]), "audio must have samples"),
        (wav([1, 2], width=1), "audio_undecodable"),
        (wav(range(100))[:-7], "audio_undecodable"),
        (b"", "audio_undecodable"),
        (b"RIFF" + bytes(60), "Expected WAVE"),
    ],
    ids=["rate", "channels", "empty", "8 bits", "cut off", "nothing", "zeros"],
)
def test_what_is_not_as_it_must_be_is_refused(file, message):
    audio = small()
    spec = [tf.TensorSpec([None], tf.string)]
    decode = tf.function(lambda files: decode_wav(files, audio).values, input_signature=spec)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){message}"):
        decode([wav([1, 2]), file])
