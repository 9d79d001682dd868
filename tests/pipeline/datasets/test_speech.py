"""`vqvae data speech`: who speaks, what is held out, and what an evaluation joins with it."""

from __future__ import annotations

import collections
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.commands.cli import cli
from pipeline.config.config import ConfigError
from pipeline.datasets.speech_packages import PACKAGES, installed
from pipeline.datasets.writer import write_dataset
from tests.fixtures.audio import encoded, heard, sixteen_bits, tone, wav
from tests.fixtures.datasets import files_of, refusal, speech_examples

PROMPTS = ("hello", "digits/1", "digits/2", "digits/5", "letters/d", "vm-goodbye", "queue-minute")
SENTENCES = [*(f"ru_{number:04d}" for number in range(1, 8)), "ru_0026"]


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """The packages, each unpacked in a folder of its name, with few and short recordings."""
    root = tmp_path / "packages"
    for number, package in enumerate(PACKAGES):
        folder = root / package.name / package.folder
        for index, prompt in enumerate((*PROMPTS, "silence/1", "beep")):
            if package.name != "festvox-ru":
                path = folder / f"{prompt}.g722"
                path.parent.mkdir(parents=True, exist_ok=True)
                samples = sixteen_bits(tone(0.2 + 0.01 * index, level=0.1 + 0.1 * number))
                path.write_bytes(encoded("g722", "g722", samples))
    for name in ("wav", "lab", "etc"):
        (folder / name).mkdir(parents=True)
    for number, name in enumerate(SENTENCES):
        (folder / f"wav/{name}.wav").write_bytes(wav(sixteen_bits(tone(0.3 + number / 100))))
        (folder / f"lab/{name}.lab").write_text("#\n0.1 125 pau\n0.25000 125 ay\n0.29 125 k\n")
    lines = [f'( {name} "Ска+жет он, {name}." )\n' for name in SENTENCES]
    (folder / "etc/txt.done.data").write_text("".join(lines), encoding="utf-8")
    return root


def side_file(folder: Path) -> list[dict]:
    lines = (folder / "utterances.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_what_is_held_out_is_held_out_for_all_speakers(packages, tmp_path):
    made = write_dataset("speech", tmp_path / "out", packages)
    splits = collections.defaultdict(set)
    for each in side_file(made.path):
        splits[each["prompt"]].add(each["split"])
    assert splits.keys() == {*PROMPTS, *SENTENCES}
    assert {len(found) for found in splits.values()} == {1}
    assert {split for found in splits.values() for split in found} == {"train", "eval"}


def test_records_have_the_speech_its_speaker_and_its_id(packages, tmp_path):
    made = write_dataset("speech", tmp_path / "out", packages)
    assert made.manifest.label_names == ["Allison", "Carlo", "IvrvoiceRU", "June", "nsh"]
    described = {each["id"]: each for each in side_file(made.path)}
    found = [
        (split, each) for split in ("train", "eval") for each in speech_examples(made.path, split)
    ]
    assert len(found) == len(described) == 5 * len(PROMPTS) + len(SENTENCES)
    for split, each in found:
        line = described[each["id"].decode()]
        assert made.manifest.label_names[each["label"]] == line["speaker"]
        assert split == line["split"]
        assert each["source"].decode().startswith(line["id"] + ".")
        assert len(heard(each["audio"])) == round(line["seconds"] * 16_000)
    assert described["es_MX_f_Allison/digits/1"] == {
        "id": "es_MX_f_Allison/digits/1",
        "split": described["en_US_f_Allison/digits/1"]["split"],
        "speaker": "Allison",
        "language": "es-MX",
        "prompt": "digits/1",
        "seconds": 0.21,
    }
    assert described["msu_ru_nsh/ru_0001"]["text"] == "Ска+жет он, ru_0001."
    # Not speaker after speaker.
    assert len({each["label"] for _, each in found[:12]}) > 2


def test_phones_are_found_by_the_id(packages, tmp_path):
    made = write_dataset("speech", tmp_path / "out", packages)
    phones = json.loads((made.path / "phones.json").read_text(encoding="utf-8"))
    assert phones.keys() == {f"msu_ru_nsh/{name}" for name in SENTENCES}
    assert phones["msu_ru_nsh/ru_0003"] == [[0.0, 0.1, "pau"], [0.1, 0.25, "ay"], [0.25, 0.29, "k"]]


def test_the_description_has_licences_and_amounts(packages, tmp_path):
    made = write_dataset("speech", tmp_path / "out", packages)
    written = json.loads((made.path / "dataset.json").read_text(encoding="utf-8"))
    assert {each["package"] for each in written["licences"]} == {each.name for each in PACKAGES}
    assert {each["licence"] for each in written["licences"]} == {
        *("CC-BY-SA-3.0", "CC-BY-3.0", "BSD-like")
    }
    counted = [written["speech"][split] for split in ("train", "eval")]
    assert sum(each.get("nsh", {}).get("utterances", 0) for each in counted) == len(SENTENCES)
    assert sum(written["utterances"].values()) == 5 * len(PROMPTS) + len(SENTENCES)
    assert "images" not in written
    assert written["rate"] == [16_000, 16_000]


def test_the_command_says_what_there_is_and_leaves_it_alone(packages, tmp_path):
    broken = next(packages.glob("*fr*")).rglob("hello.g722")
    next(broken).write_bytes(b"")
    out = tmp_path / "out"
    done = CliRunner().invoke(cli, ["data", "speech", str(out), "--source", str(packages)])
    assert done.exit_code == 0, done.exception
    assert "utterances, 0.2 minutes at 16000 Hz, 5 speakers, in 2 files" in done.stdout
    assert "left out 1 utterance that cannot be used (2.33%): fr_CA_f_June/hello.g722 (empty" in (
        done.stderr
    )
    before = files_of(out)
    # All packages in one folder are the same data.
    together = tmp_path / "together"
    for package in packages.iterdir():
        shutil.copytree(package, together, dirs_exist_ok=True)
    again = CliRunner().invoke(cli, ["data", "speech", str(out), "--source", str(together)])
    assert "already there" in again.stdout
    assert files_of(out) == before
    assert files_of(write_dataset("speech", tmp_path / "again", packages).path) == before


def test_missing_packages_are_named_in_one_line(packages, tmp_path):
    for name in ("festvox-ru", "asterisk-core-sounds-it-g722"):
        shutil.rmtree(packages / name)
    message = refusal("speech", tmp_path / "out", packages)
    assert "`apt-get install asterisk-core-sounds-it-g722 festvox-ru` puts them there" in message


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("lab/ru_0002.lab", "#\n0.1 125 pau\nnonsense\n", "phone 2 is not `END CODE PHONE`"),
        ("lab/ru_0002.lab", "#\n0.1 125 pau\n0.1 125 a\n", "phone 2 does not end after it begins"),
        ("lab/ru_0002.lab", "0.1 125 pau\n", "has no phones"),
        ("etc/txt.done.data", '( ru_0001 "a" )\nb\n', "line 2 is not `( NAME"),
        ("etc/txt.done.data", '( ru_0001 "a" )\n', "has no transcript of ru_0002"),
    ],
)
def test_damaged_side_files_are_named(packages, tmp_path, file, text, said):
    (next(packages.rglob("msu_ru_nsh_clunits")) / file).write_text(text)
    assert said in refusal("speech", tmp_path / "out", packages)


def test_the_real_packages(tmp_path):
    try:
        installed(None)
    except ConfigError as error:
        pytest.skip(str(error))
    made = write_dataset("speech", tmp_path / "out")
    assert sum(made.manifest.records.values()) > 3_000
    assert made.manifest.damaged_files < 5
    shares = [
        made.manifest.facts.speech["eval"][speaker]["utterances"] / each["utterances"]
        for speaker, each in made.manifest.facts.speech["train"].items()
    ]
    np.testing.assert_allclose(shares, 0.1, atol=0.04)
