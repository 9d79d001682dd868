"""The binary version of CIFAR-10: what it holds, and damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets import cifar10
from pipeline.datasets.writer import write_dataset
from tests.fixtures.datasets import examples_of, pixels_of, refusal

_RECORDS = 7


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the archive unpacked, whose files are shorter."""
    monkeypatch.setattr(cifar10, "RECORDS", _RECORDS)
    folder = tmp_path / "source" / cifar10.FOLDER
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in (name for files in cifar10.FILES.values() for name in files):
        records = random.integers(0, 256, (_RECORDS, 3073), np.uint8)
        records[:, 0] = np.arange(_RECORDS)
        (folder / name).write_bytes(records.tobytes())
    return folder


def test_pixels_and_labels_are_those_of_the_files(tmp_path: Path, source: Path) -> None:
    made = write_dataset("cifar10", tmp_path / "out", source.parent)
    assert made.manifest.records == {"train": 5 * _RECORDS, "eval": _RECORDS}
    assert made.manifest.label_names is not None
    assert made.manifest.label_names[3] == "cat"
    for split, names in cifar10.FILES.items():
        written = examples_of(made.path, split)
        records = b"".join((source / name).read_bytes() for name in names)
        rows = np.frombuffer(records, np.uint8).reshape(-1, 3073)
        assert [label for _, label in written] == rows[:, 0].tolist()
        for (encoded, _), row in zip(written, rows, strict=True):
            red, green, blue = row[1:].reshape(3, 32, 32)
            np.testing.assert_array_equal(pixels_of(encoded), np.dstack([red, green, blue]))
    assert not write_dataset("cifar10", made.path, source).made  # the folder itself


def _missing(file: Path) -> None:
    file.unlink()


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3073])


def _of_cifar100(file: Path) -> None:
    file.write_bytes(b"\x0b" + file.read_bytes()[1:])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_missing, "is missing; unpack the binary version"),
        (_cut, "has 18,438 bytes instead of 21,511; fetch"),
        (_of_cifar100, "holds the label 11, where CIFAR-10 has 0 to 9"),
    ],
)
def test_damage_names_the_file(tmp_path: Path, source: Path, damage, said: str) -> None:
    damage(source / "data_batch_4.bin")
    message = refusal("cifar10", tmp_path / "out", source)
    assert "data_batch_4.bin: " in message
    assert said in message
    assert not (tmp_path / "out").exists()
