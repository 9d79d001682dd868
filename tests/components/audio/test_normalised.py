"""Whatever valid audio comes in comes out as 16-bit mono WAV; all else is refused by name."""

from __future__ import annotations

import io
import socket
import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from components.audio.inspected import inspected
from components.audio.limits import AudioLimits
from components.audio.normalised import normalised, reason_unusable
from components.audio.unusable import UnusableAudio
from tests import ROOT
from tests.fixtures.audio import RATE, encoded, film, heard, sixteen_bits, tone, wav

LIMITS = AudioLimits(rate=RATE, min_seconds=0.1, max_seconds=2.0)
TONE = sixteen_bits(tone())


def test_sixteen_bits_of_one_channel_pass_bit_by_bit():
    samples = np.random.default_rng(0).integers(-32768, 32768, RATE).astype(np.int16)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    once = normalised(buffer.getvalue(), LIMITS)
    np.testing.assert_array_equal(heard(once), samples)
    # Also where there is more in the file than samples, and so another way to them.
    listed = buffer.getvalue().replace(b"data", b"LIST\4\0\0\0abcddata", 1)
    assert normalised(listed, LIMITS) == once
    assert normalised(once, LIMITS) == once


def test_tensorflow_reads_what_comes_out():
    import tensorflow as tf

    audio, rate = tf.audio.decode_wav(normalised(encoded("flac", "flac", TONE), LIMITS))
    assert (rate.numpy(), audio.shape) == (RATE, (len(TONE), 1))
    np.testing.assert_array_equal(audio[:, 0] * 32768, TONE)


def rf64(samples: np.ndarray) -> bytes:
    """A WAV file whose sizes have 64 bits, in a chunk of their own."""
    small = wav(samples, data_size=0xFFFFFFFF)
    sizes = struct.pack("<QQQI", len(small) + 28, samples.nbytes, len(samples), 0)
    return b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<I", len(sizes)) + sizes + small[12:]


@pytest.mark.parametrize(
    ("make", "name", "tolerance"),
    [
        (lambda: wav(sixteen_bits(tone(rate=44100)), 44100), "", 0.001),
        (lambda: wav(np.rint(tone(rate=8000) * 127 + 128).astype(np.uint8), 8000), "", 0.02),
        (lambda: wav(tone(rate=48000).astype(np.float32), 48000), "", 0.001),
        (lambda: wav(tone().astype(np.float64)), "", 0.001),
        (lambda: wav((tone(rate=96000) * 2**31).astype(np.int32), 96000), "", 0.001),
        (lambda: wav(TONE, data_size=0xFFFFFFFF), "", 0.001),  # written to a pipe
        (lambda: encoded("wav", "pcm_s24le", TONE), "", 0.001),
        (lambda: encoded("wav", "pcm_mulaw", TONE), "", 0.02),
        (lambda: encoded("wav", "adpcm_ms", TONE), "", 0.02),
        (lambda: encoded("flac", "flac", sixteen_bits(tone(rate=22050)), 22050), "", 0.001),
        (lambda: b"ID3\4\0\0\0\0\0\x0a" + b"\0" * 10 + encoded("flac", "flac", TONE), "", 0.001),
        (lambda: encoded("ogg", "libopus", sixteen_bits(tone(rate=48000)), 48000), "", 0.05),
        (lambda: encoded("ogg", "vorbis", np.stack([TONE, TONE], 1)), "", 0.02),
        (lambda: encoded("mp3", "libmp3lame", TONE), "", 0.02),
        (lambda: encoded("mp3", "libmp3lame", TONE) + b"TAG" + bytes(125), "", 0.02),
        (lambda: encoded("mp2", "mp2", TONE), "", 0.02),
        (lambda: encoded("wav", "libmp3lame", TONE), "", 0.02),
        (lambda: encoded("wav", "adpcm_ima_wav", TONE), "", 0.02),
        (lambda: rf64(TONE), "", 0.001),
        (lambda: encoded("g722", "g722", TONE), "a/B.G722", 0.03),
    ],
)
def test_kinds_and_rates_sound_the_same(make, name, tolerance):
    result = normalised(make(), LIMITS, name)
    samples = heard(result) / 32767
    assert abs(len(samples) / RATE - 0.5) < 0.1
    # Codecs delay by some samples; of the frequency there must be as much, and of others nothing.
    middle = samples[1600:6400]
    waves = np.exp(-2j * np.pi * 440 * np.arange(len(middle)) / RATE)
    assert abs(2 * abs(waves @ middle) / len(middle) - 0.25) < tolerance
    assert np.std(middle) == pytest.approx(0.25 / np.sqrt(2), abs=tolerance)
    assert normalised(result, LIMITS) == result


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_channels_are_averaged(kind):
    scale = 32768 if kind == np.int16 else 1
    channels = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 3))
    stored = (channels * scale).astype(kind)
    wanted = np.rint(stored.astype(np.float64).mean(axis=1) / scale * 32768)
    assert np.abs(heard(normalised(wav(stored), LIMITS)) - wanted).max() <= 1


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100])
def test_lengths_at_the_limits_are_still_allowed_once_resampled(rate):
    for seconds in (LIMITS.min_seconds, LIMITS.max_seconds):
        once = normalised(wav(sixteen_bits(tone(seconds, rate)), rate), LIMITS)
        assert normalised(once, LIMITS) == once
        assert abs(len(heard(once)) - seconds * RATE) <= 1


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes, at: float = 0.5) -> bytes:
    start = int(len(data) * at)
    return data[:start] + bytes(byte ^ 0x55 for byte in data[start : start + 8]) + data[start + 8 :]


NAN = tone().astype(np.float32)
NAN[100] = np.nan
INFINITE = np.where(np.arange(8000) == 7999, -np.inf, tone())
LONG_OPUS = sixteen_bits(tone(1.9, 48000))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: b"", "empty audio"),
        (lambda: wav(TONE[:0]), "shorter than 0.1 s: 0 s"),
        (lambda: wav(TONE[:800]), "shorter than 0.1 s: 0.05 s"),
        (lambda: wav(sixteen_bits(tone(2.01))), "longer than 2 s"),
        (lambda: encoded("flac", "flac", sixteen_bits(tone(2.01))), "longer than 2 s"),
        (lambda: wav(np.zeros(8000, np.int16)), "silent"),
        (lambda: wav(sixteen_bits(tone(level=0.0005) + 0.3)), "silent"),
        (lambda: wav(NAN), "NaN or infinite samples"),
        (lambda: wav(INFINITE), "NaN or infinite samples"),
        (lambda: wav(NAN * 0 + 20_000), "NaN or infinite samples"),
        (lambda: wav(tone() * 80_000), "floats beyond full scale: up to 20000 instead of 1"),
        (lambda: wav(TONE, data_size=0xF0000000), "truncated WAV: has 16,000 of 4,026,531,840 by"),
        (lambda: half(wav(TONE)), "truncated WAV"),
        (lambda: wav(TONE)[:30], "truncated WAV: ends before its samples"),
        (lambda: b"RIFF\0\0\0\0WAVE" + bytes(100_000), "truncated or corrupt WAV"),
        (lambda: wav(TONE, rate=0), "not a sample rate of 1,000 to 768,000 Hz: 0"),
        (lambda: wav(TONE, rate=2**31), "not a sample rate of 1,000 to 768,000 Hz: 2,147,483,648"),
        (lambda: wav(TONE, channels=64), "not 1 to 8 channels: 64"),
        (lambda: wav(TONE, channels=0), "not 1 to 8 channels: 0"),
        (lambda: wav(TONE, tag=0x7777), "a codec that is not read: unknown"),
        (lambda: encoded("wav", "adpcm_yamaha", TONE), "a codec that is not read"),
        (lambda: half(encoded("flac", "flac", TONE)), "truncated or corrupt FLAC"),
        (lambda: flipped(encoded("flac", "flac", TONE), 0.8), "truncated or corrupt FLAC"),
        (lambda: b"fLaC" + bytes(60), "truncated or corrupt FLAC"),
        (lambda: half(encoded("ogg", "libopus", LONG_OPUS, 48000)), "truncated or corrupt Ogg"),
        (lambda: flipped(encoded("ogg", "libopus", LONG_OPUS, 48000)), "truncated or corrupt Ogg"),
        (lambda: half(encoded("mp3", "libmp3lame", TONE)), "truncated or corrupt MP3"),
        (lambda: b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(20), "truncated or corrupt MP3: ends within"),
        (lambda: wav(TONE).replace(b"RIFF", b"RIFX"), "big-endian WAV file, not WAV, FLAC, Ogg"),
        (film, "no sound in it: Ogg without an audio stream"),
        (lambda: film("mp4", "mpeg4"), "MP4 or M4A file, not WAV, FLAC, Ogg or MP3 audio"),
        (lambda: film("avi", "mpeg4"), "AVI or other RIFF file, not WAV, FLAC, Ogg or MP3 audio"),
        (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "not WAV, FLAC, Ogg or MP3 audio"),
        (lambda: encoded("g722", "g722", TONE), "not WAV, FLAC, Ogg or MP3 audio"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(make, said):
    with pytest.raises(UnusableAudio) as caught:
        normalised(make(), LIMITS)
    assert str(caught.value).startswith(said)
    assert len(str(caught.value)) < 120


def test_audio_can_be_looked_at_without_making_anything_of_it():
    samples = sixteen_bits(tone(0.7, 44100))
    assert inspected(wav(samples, 44100), LIMITS) == (44100, pytest.approx(0.7))
    assert inspected(encoded("g722", "g722", TONE), LIMITS, "a.g722") == (RATE, 0.5)
    with pytest.raises(UnusableAudio, match="silent"):
        inspected(wav(np.full(8000, 9000, np.int16)), LIMITS)


def test_a_reason_has_two_parts_and_what_is_fine_has_none():
    assert reason_unusable(wav(TONE, channels=64), LIMITS) == ("not 1 to 8 channels", "64")
    assert reason_unusable(wav(TONE), LIMITS) is None


@pytest.mark.parametrize("magic", [b"", b"OggS", b"fLaC", b"RIFF\x24\0\0\0WAVE", b"\xff\xfb\x90d"])
def test_nothing_that_the_bytes_name_is_opened(tmp_path: Path, magic):
    """FFmpeg's playlists, concatenations and references, of a file and of an address."""
    (tmp_path / "secret.wav").write_bytes(wav(TONE))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.wav"
        for target in (str(tmp_path / "secret.wav"), address):
            for text in (
                f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
                f"ffconcat version 1.0\nfile '{target}'\n",
                f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nu={target}\nm=audio 9 RTP/AVP 0\n",
                f"[Reference]\nRef1={target}\n",
                f'<?xml version="1.0"?><MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>',
                target,
            ):
                with pytest.raises(UnusableAudio):
                    normalised(magic + text.encode() * 50, LIMITS)
        with pytest.raises(BlockingIOError):  # nobody has called
            server.accept()


def test_memory_follows_the_limit_and_not_the_file():
    """Ten minutes in few bytes, and headers that announce hours."""
    code = """
import resource, struct, sys
import numpy as np
from components.audio.inspected import inspected
from components.audio.limits import AudioLimits
from components.audio.normalised import reason_unusable
from tests.fixtures.audio import encoded, wav
bomb = encoded("flac", "flac", np.zeros(2 * 60 * 48000 * 5, np.int16).reshape(-1, 2), 48000)
slow = bytearray(encoded("flac", "flac", np.zeros(20 * 48000, np.int16), 48000))
slow[18:20] = struct.pack(">H", 1000 >> 4)  # the upper bits of the rate in STREAMINFO: 1,000 Hz
limits = AudioLimits(max_seconds=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(bomb) < 500_000, len(bomb)
for data in (bomb, bytes(slow), wav(np.zeros(10, np.int16), data_size=0xFFFFFFF0)):
    print(reason_unusable(data, limits))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *reasons, grown = done.stdout.splitlines()
    assert reasons[0] == "('longer than 1 s', '')"
    assert int(grown) < 20_000, done.stdout  # KiB
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"rate": 0}, "rate must be from 1000 to 768000 Hz. Received: 0"),
        ({"min_seconds": 0}, "min_seconds must be above 0"),
        ({"min_seconds": 3, "max_seconds": 2}, "max_seconds not below it. Received: 3 and 2"),
    ],
)
def test_limits_that_allow_nothing_are_refused(arguments, said):
    with pytest.raises(ValueError, match="Received") as caught:
        AudioLimits(**arguments)
    assert said in str(caught.value)


def reason_of_inspection(data: bytes) -> tuple[str, str] | None:
    try:
        found = inspected(data, LIMITS)
    except UnusableAudio as error:
        return error.reason, error.detail
    assert 0.09 < found.seconds < 2.01
    return None


@pytest.mark.slow
def test_damaged_files_are_read_or_refused_by_name():
    seeds = [
        wav(TONE),
        wav(tone().astype(np.float32)),
        encoded("wav", "adpcm_ms", TONE),
        encoded("flac", "flac", np.stack([TONE, TONE // 2], 1)),
        encoded("ogg", "libopus", LONG_OPUS, 48000),
        encoded("mp3", "libmp3lame", TONE),
        film(),
    ]
    rng = np.random.default_rng(0)
    refused: set[str] = set()
    read = 0
    for i in range(4000):
        damaged = bytearray(seeds[i % len(seeds)])
        for _ in range(rng.integers(1, 6)):
            reach = len(damaged) if rng.random() < 0.5 else min(80, len(damaged))  # headers more
            damaged[rng.integers(0, reach)] = rng.integers(0, 256)
        if rng.random() < 0.2:
            at, size = rng.integers(0, len(damaged)), rng.integers(1, 5)
            damaged[at : at + size] = struct.pack("<I", rng.choice([0, 1, 2**31, 2**32 - 1]))[:size]
        if rng.random() < 0.2:
            del damaged[rng.integers(0, len(damaged) + 1) :]
        why = reason_unusable(bytes(damaged), LIMITS)
        assert why == reason_of_inspection(bytes(damaged))
        if why:
            refused.add(why[0])
            assert "\n" not in "".join(why)
        else:
            result = normalised(bytes(damaged), LIMITS)
            assert normalised(result, LIMITS) == result
            read += 1
    assert len(refused) < 40  # so that they can be counted
    assert read > 400
