"""Sounds that mean harm against a served release of audio: refused in one line, and no more."""

from __future__ import annotations

import struct
import threading

import numpy as np
import pytest

from components.audio.wav import encode_wav
from tests.fixtures import audio, sound_release
from tests.fixtures.served_releases import GenericClient, request, serving
from tests.fixtures.sound_release import AUDIO, voice

RATE, WINDOW = AUDIO.rate, AUDIO.window_samples
GOOD = encode_wav(voice(WINDOW), RATE)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    store = sound_release.write_store(tmp_path_factory.mktemp("sound"))
    with serving(store) as running:
        yield GenericClient(running.port)


@pytest.fixture(autouse=True)
def still_there(client):
    """After each attack it answers, and right."""
    expected = client.predict("encode", audio=[GOOD])["codes"]
    yield
    np.testing.assert_array_equal(client.predict("encode", audio=[GOOD])["codes"], expected)


def chunk(kind: bytes, size: int) -> bytes:
    return kind + struct.pack("<I", size)


HOSTILE = {
    "announces gigabytes of samples": audio.wav(voice(100), RATE, data_size=0xFFFFFFFE),
    "announces a chunk of gigabytes": GOOD[:36] + chunk(b"LIST", 0xFFFFFFF0) + GOOD[36:],
    "zero rate": audio.wav(voice(100), 0),
    "another rate": audio.wav(voice(100), 44_100),
    "64 channels": audio.wav(np.zeros((100, 64), np.int16), RATE),
    "65,535 channels": audio.wav(voice(100), RATE, channels=65_535),
    "no channels": audio.wav(voice(100), RATE, channels=0),
    "truncated": GOOD[:-1],
    "a header only": GOOD[:44],
    "half a header": GOOD[:30],
    "floats": audio.wav(voice(100).astype(np.float32), RATE),
    "8 bits": audio.wav(voice(100).astype(np.uint8), RATE),
    "too long": encode_wav(voice(WINDOW + 1), RATE),
    "ten megabytes of sound": encode_wav(np.zeros(5_000_000, np.int16), RATE),
    "FLAC": audio.encoded("flac", "flac", voice(1000), RATE),
    "not sound": b"<html>" * 100,
    "ten megabytes of noise": np.random.default_rng(0).bytes(10_000_000),
    "bytes that are no text": b"\xff\xfe\n[[\x00" * 50,
    "a WAV whose parts are no text": GOOD[:12] + b"\xff\xfe\n[" + GOOD[16:],
    "and behind another part": GOOD[:12] + chunk(b"JUNK", 2) + b"ab\xff\xfe\n[" + GOOD[16:],
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sound_is_refused_in_one_line(client, name):
    code, text = client.refused(request("encode", audio=[GOOD, HOSTILE[name]]))
    assert code == "INVALID_ARGUMENT"
    assert text
    assert "\n" not in text
    assert len(text) < 300


@pytest.mark.parametrize("rows", [0, 1, 251])
def test_spectrograms_that_make_no_sound_are_refused(client, rows):
    frames = np.zeros([1, rows, AUDIO.mels, 1], np.uint8)
    code, text = client.refused(request("decode", "waveform", frames=frames))
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("frames must have 3 to 250 rows")


def test_spectrograms_of_several_lengths_at_once(client):
    """Requests of one signature are joined when the server is busy; these cannot be."""
    lengths = [*range(20, 60)]
    answers: dict[int, np.ndarray] = {}

    def ask(length: int) -> None:
        frames = np.full([1, length, AUDIO.mels, 1], 100, np.uint8)
        answers[length] = client.predict("decode", "waveform", frames=frames)["audio"]

    threads = [threading.Thread(target=ask, args=(length,)) for length in lengths]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {length: each.shape[1] for length, each in answers.items()} == {
        length: length * AUDIO.hop for length in lengths
    }
