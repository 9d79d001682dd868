"""`vqvae encode`, `decode`, `convert` and `sample` with a release of audio, on disk and served."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.audio.wav import encode_wav, samples_of
from pipeline.inference import codes_file
from tests.fixtures import audio, sound_release, tiny_models
from tests.fixtures.commands import refused, vqvae
from tests.fixtures.served_releases import serving
from tests.fixtures.sound_release import AUDIO, voice

RATE, WINDOW = AUDIO.rate, AUDIO.window_samples


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return sound_release.write_store(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def signatures(store):
    """Of encode and decode, as anybody calls them."""
    loaded = {name: tf.saved_model.load(str(store / name / "1")) for name in ("encode", "decode")}
    return {
        "loaded": loaded,  # which its signatures do not keep
        "encode": loaded["encode"].signatures["serving_default"],
        "decode": loaded["decode"].signatures["serving_default"],
        "waveform": loaded["decode"].signatures["waveform"],
    }


@pytest.fixture(scope="module")
def target(store):
    with serving(store) as running:
        yield f"localhost:{running.port}"


@pytest.fixture(params=["store", "server"])
def where(request, store) -> list[str]:
    if request.param == "store":
        return ["--store", str(store)]
    return ["--server", request.getfixturevalue("target")]


@pytest.fixture(scope="module")
def image_store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    tiny_models.publish(folder / "serving", tiny_models.write(folder / "a"))
    return folder / "serving"


def heard(path: Path) -> np.ndarray:
    """int16 [N] of a WAV file at the rate of the release."""
    samples = samples_of(path.read_bytes(), RATE)
    assert samples is not None
    return samples


def codes_of(signatures, samples: np.ndarray) -> np.ndarray:
    cut = [samples[start : start + WINDOW] for start in range(0, len(samples), WINDOW)]
    files = tf.constant([encode_wav(each, RATE) for each in cut])
    return signatures["encode"](audio=files)["codes"].numpy()


def sound_of(signatures, codes: np.ndarray, label: int, samples: int) -> np.ndarray:
    """int16 [samples]: the spectrograms of all windows as one."""
    labels = tf.fill([len(codes)], label)
    frames = signatures["decode"](codes=tf.constant(codes), labels=labels)["frames"].numpy()
    frames = frames.reshape(1, -1, AUDIO.mels, 1)[:, : -(-samples // AUDIO.hop)]
    sound = signatures["waveform"](frames=tf.constant(frames))["audio"].numpy()[0, :samples]
    return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)


@pytest.fixture
def recordings(tmp_path) -> dict[str, np.ndarray]:
    """Below `in`, by name: int16 of each."""
    made = {"a.wav": voice(2 * WINDOW + 700), "b/a.flac": voice(WINDOW, 1), "b/c.wav": voice(900)}
    for name, samples in made.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        flac = name.endswith("flac")
        path.write_bytes(
            audio.encoded("flac", "flac", samples, RATE) if flac else encode_wav(samples, RATE)
        )
    return made


def test_there_and_back(where, signatures, recordings, tmp_path):
    (tmp_path / "in" / "b" / "notes.txt").write_text("no sound")
    said = vqvae("encode", tmp_path / "in", "--out", tmp_path / "codes.npz", *where)
    assert said.splitlines() == [
        f"left out 1 file: {tmp_path / 'in' / 'b' / 'notes.txt'} (not WAV, FLAC, Ogg or MP3 audio)",
        f"{tmp_path / 'codes.npz'}: codes of 3 recordings",
    ]
    stored = codes_file.read(tmp_path / "codes.npz")
    assert stored.names.tolist() == ["a.wav"] * 3 + ["b/a.flac", "b/c.wav"]
    assert stored.windows.tolist() == [0, 1, 2, 0, 0]
    assert stored.samples.tolist() == [WINDOW, WINDOW, 700, WINDOW, 900]
    expected = [codes_of(signatures, samples) for samples in recordings.values()]
    np.testing.assert_array_equal(stored.codes, np.concatenate(expected))
    assert int(np.load(tmp_path / "codes.npz")["format"]) == 4

    decode = ("decode", tmp_path / "codes.npz", "--speaker", 2, *where, "--out", tmp_path / "out")
    assert vqvae(*decode) == f"{tmp_path / 'out'}: 3 recordings\n"
    names = [str(path.relative_to(tmp_path / "out")) for path in tmp_path.glob("out/**/*.wav")]
    assert sorted(names) == ["a.wav", "b/a.wav", "b/c.wav"]
    for name, samples, codes in zip(sorted(names), recordings.values(), expected, strict=True):
        sound = heard(tmp_path / "out" / name)
        np.testing.assert_array_equal(sound, sound_of(signatures, codes, 2, len(samples)))


def test_recordings_of_one_name_stay_apart_and_long_ones_are_made_in_pieces(store, tmp_path):
    """2.5 s where one spectrogram may have 1 s; training would have left it out."""
    for folder, samples in {"a": voice(20_000), "b": voice(2 * WINDOW)}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.wav").write_bytes(encode_wav(samples, RATE))
    twice = [tmp_path / "b" / "x.wav"] * 2
    codes, where = tmp_path / "codes.npz", ("--store", store)
    vqvae("encode", *twice, "--out", codes, *where)
    vqvae("decode", codes, "--speaker", -1, "--out", tmp_path / "twice", *where)
    assert sorted(os.listdir(tmp_path / "twice")) == ["x-2.wav", "x.wav"]
    vqvae("encode", tmp_path / "a" / "x.wav", "--out", codes, *where)
    vqvae("decode", codes, "--speaker", -1, "--out", tmp_path / "long", *where)
    assert len(heard(tmp_path / "long" / "x.wav")) == 20_000


def test_convert_is_encode_and_decode_with_another_speaker(where, signatures, tmp_path):
    samples = voice(WINDOW + 300)
    (tmp_path / "a.wav").write_bytes(encode_wav(samples, RATE))
    convert = ("convert", tmp_path / "a.wav", "--speaker", 1, *where, "--out")
    assert vqvae(*convert, tmp_path / "b.wav") == f"{tmp_path / 'b.wav'}: a.wav as speaker 1\n"
    expected = sound_of(signatures, codes_of(signatures, samples), 1, len(samples))
    np.testing.assert_array_equal(heard(tmp_path / "b.wav"), expected)
    other = sound_of(signatures, codes_of(signatures, samples), 2, len(samples))
    assert (other != expected).any()
    there = f"{tmp_path / 'a.wav'}: is there already; name a new file"
    assert refused(*convert, tmp_path / "a.wav") == there
    np.testing.assert_array_equal(heard(tmp_path / "a.wav"), samples)
    unknown = refused("convert", tmp_path / "a.wav", "--speaker", 9, *where, "--out", "c.wav")
    assert unknown.startswith(f"{tmp_path / 'a.wav'}: labels must be -1 (not known) to 2")


def test_samples_are_the_same_from_disk_and_server_and_decode_to_themselves(
    store, target, tmp_path
):
    places = {"disk": ("--store", store), "served": ("--server", target)}
    for name, where in places.items():
        drawing = ("sample", "--count", 3, "--label", 1, "--seed", 5, "--out", tmp_path / name)
        assert vqvae(*drawing, *where) == f"{tmp_path / name}: 3 recordings\n"
    names = ["00000.wav", "00001.wav", "00002.wav"]
    assert sorted(os.listdir(tmp_path / "disk")) == [*names, "codes.npz"]
    for name in (*names, "codes.npz"):
        assert (tmp_path / "disk" / name).read_bytes() == (tmp_path / "served" / name).read_bytes()
    # Their labels are in the file.
    vqvae("decode", tmp_path / "disk" / "codes.npz", "--out", tmp_path / "again", *places["disk"])
    for name in names:
        assert len(heard(tmp_path / "again" / name)) == WINDOW
        np.testing.assert_allclose(
            heard(tmp_path / "again" / name), heard(tmp_path / "disk" / name), atol=2
        )


def test_codes_without_labels_say_how_to_mend(target, recordings, tmp_path):
    codes, where = tmp_path / "codes.npz", ("--server", target)
    vqvae("encode", tmp_path / "in" / "a.wav", "--out", codes, *where)
    assert refused("decode", codes, "--out", tmp_path / "out", *where) == (
        f"{codes}: has no labels, which the conditional decoder of release 1 needs; name one with "
        "--speaker, -1 for none"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty audio"),
        (tiny_models.png(tiny_models.some_images(1)[0]), "not WAV, FLAC, Ogg or MP3 audio"),
        (
            encode_wav(voice(2000), RATE)[:-500],
            "truncated WAV: has 3,500 of 4,000 bytes of samples",
        ),
        (encode_wav(np.zeros(5000, np.int16), RATE), "silent"),
        (encode_wav(voice(500), RATE), "shorter than 0.1 s: 0.0625 s"),
    ],
    ids=["empty", "image", "truncated", "silent", "short"],
)
def test_what_cannot_be_encoded_is_named_and_nothing_is_written(store, tmp_path, content, said):
    (tmp_path / "a.wav").write_bytes(content)
    out = ("--out", tmp_path / "codes.npz", "--store", store)
    assert refused("encode", tmp_path / "a.wav", *out) == f"{tmp_path / 'a.wav'}: {said}"
    assert os.listdir(tmp_path) == ["a.wav"]


def test_what_is_for_the_other_kind_is_refused_in_one_line(
    store, image_store, recordings, tmp_path
):
    path, out = tmp_path / "in" / "a.wav", ("--out", tmp_path / "out")
    of_audio, of_images = ("--store", store), ("--store", image_store)
    for arguments in (("--tiles", path), ("--data", tmp_path / "in")):
        said = refused("encode", *arguments, *out, *of_audio)
        assert said.startswith(f"release 1 is of audio, and {arguments[0]} is for images")
    said = refused("convert", path, "--speaker", 1, *out, *of_images)
    assert said == "release 1 is of images; `vqvae convert` is for recordings"
    assert refused("encode", path, *out, *of_images) == f"{path}: not an image that Pillow reads"

    codes = tmp_path / "folder" / "codes.npz"
    vqvae("encode", path, "--out", codes, *of_audio)
    said = refused("decode", codes, "--force", *out, *of_images)
    assert said.startswith(f"{codes}: its codes are of recordings, but release 1 is of images")
    said = refused("decode", "--data", codes.parent, *out, *of_audio)
    assert said.startswith("release 1 is of audio, and --data is for images")
    (image,) = tiny_models.write_images(tmp_path / "images", 1)
    vqvae("encode", image, "--out", codes, *of_images)
    said = refused("decode", codes, "--force", "--speaker", 1, *out, *of_audio)
    assert said.startswith(f"{codes}: its codes are not of recordings, but release 1 is of audio")
    said = refused("decode", codes, "--speaker", 1, *out, *of_images)
    assert said.startswith("release 1 has no conditional decoder")
    assert not (tmp_path / "out").exists()


def test_speakers_are_for_codes(tmp_path):
    assert "--speaker is for CODES" in refused(
        "decode", "--data", "d", "--speaker", 1, "--out", "x"
    )
