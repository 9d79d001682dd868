"""`vqvae data audio-folder`: a folder a speaker, files as they are, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.commands.cli import cli
from pipeline.datasets.writer import write_dataset
from tests.fixtures.audio import encoded, film, heard, sixteen_bits, tone, wav
from tests.fixtures.datasets import refusal, speech_examples

RATE = 22_050


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Recordings of two speakers, of every kind, and files that do not belong."""
    root = tmp_path / "recordings"
    for number, speaker in enumerate(("zoe", "Ann")):
        (root / speaker / "deeper").mkdir(parents=True)
        for index in range(12):
            samples = sixteen_bits(tone(0.3 + 0.01 * index, RATE, level=0.1 + 0.2 * number))
            path = root / speaker / "deeper" / f"{index}.wav"
            path.write_bytes(wav(samples, RATE))
    samples = sixteen_bits(tone(0.4))
    (root / "Ann" / "a.flac").write_bytes(encoded("flac", "flac", samples))
    (root / "Ann" / "b.mp3").write_bytes(encoded("mp3", "libmp3lame", samples))
    (root / "zoe" / "c.G722").write_bytes(encoded("g722", "g722", samples))
    (root / "zoe" / "silent.wav").write_bytes(wav(np.zeros(8000, np.int16)))
    (root / "zoe" / "cut.wav").write_bytes(wav(samples)[:-1000])
    (root / "zoe" / "notes.txt").write_text("two speakers")
    (root / "zoe" / "film.mp4").write_bytes(film("mp4", "mpeg4"))
    return root


def test_files_stay_as_they_are_and_folders_are_speakers(recordings, tmp_path):
    made = write_dataset("audio-folder", tmp_path / "out", recordings)
    assert made.manifest.label_names == ["Ann", "zoe"]
    assert made.manifest.facts.rate == (16_000, RATE)
    found = {
        each["id"].decode(): each
        for split in ("train", "eval")
        for each in speech_examples(made.path, split)
    }
    assert sum(made.manifest.records.values()) == len(found) == 27
    for name, each in found.items():
        assert each["source"].decode() == name
        assert made.manifest.label_names[each["label"]] == name.split("/")[0]
        if name != "zoe/c.G722":
            assert each["audio"] == (recordings / name).read_bytes()
    # Without its name nobody knows what it is.
    assert len(heard(found["zoe/c.G722"]["audio"])) == 6400
    total = sum(
        counts["seconds"]
        for split in made.manifest.facts.speech.values()
        for counts in split.values()
    )
    assert total == pytest.approx(24 * 0.355 + 3 * 0.4, abs=0.3)


def test_the_command_names_what_is_left_out(recordings, tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(cli, ["data", "audio-folder", str(out), "--source", str(recordings)])
    assert done.exit_code == 0, done.exception
    assert done.stderr.splitlines()[-3:] == [
        "left out 2 utterances that cannot be used (6.90%): zoe/cut.wav (truncated WAV: has "
        "11,800 of 12,800 bytes of samples), zoe/silent.wav (silent)",
        "passed over 2 files that are not WAV, FLAC, Ogg, MP3 or G.722 audio, such as zoe/film.mp4",
        f"all that was left out is listed in {out}/skipped.jsonl",
    ]
    lines = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert lines[2:] == [
        {"file": "zoe/film.mp4", "reason": "not audio that is read"},
        {"file": "zoe/notes.txt", "reason": "not audio that is read"},
    ]
    again = CliRunner().invoke(cli, ["data", "audio-folder", str(out), "--source", str(recordings)])
    assert "already there" in again.stdout


def test_split_folders_and_a_speaker_that_only_one_has(recordings, tmp_path):
    root = tmp_path / "root"
    (root / "test" / "zoe").mkdir(parents=True)
    (root / "test" / "zoe" / "held.wav").write_bytes(wav(sixteen_bits(tone(level=0.01))))
    recordings.rename(root / "train")
    done = CliRunner().invoke(
        cli, ["data", "audio-folder", str(tmp_path / "out"), "--source", str(root)]
    )
    assert done.exit_code == 0, done.exception
    assert "eval has no utterance of the speaker 'Ann', which will not be judged" in done.stderr
    (held,) = speech_examples(tmp_path / "out", "eval")
    assert (held["id"], held["label"]) == (b"test/zoe/held.wav", 1)


def test_a_folder_without_audio_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("nothing here")
    said = refusal("audio-folder", tmp_path / "out", tmp_path / "in")
    assert "holds 0 readable audio files (1 other files, such as notes.txt)" in said
    assert "--source DIR" in refusal("audio-folder", tmp_path / "out")
