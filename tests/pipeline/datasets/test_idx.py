"""MNIST-format IDX files: what they hold, damage, bounded memory."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.writer import write_dataset
from tests.fixtures.datasets import examples_of, idx, pixels_of, refusal, write_idx


def test_idx_round_trip(tmp_path: Path) -> None:
    source = write_idx(tmp_path / "source")
    out = write_dataset("idx", tmp_path / "out", source, records_per_shard=20).path
    assert sorted(path.name for path in (out / "train").iterdir()) == [
        "00000.tfrecord.gz",
        "00001.tfrecord.gz",
        "00002.tfrecord.gz",
    ]
    raw = gzip.decompress((source / "train-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(raw[16:], np.uint8).reshape(50, 6, 7)
    labels = (source / "train-labels-idx1-ubyte").read_bytes()[8:]
    written = examples_of(out, "train")
    assert [label for _, label in written] == list(labels)
    for (encoded, _), pixels in zip(written, images, strict=True):
        np.testing.assert_array_equal(pixels_of(encoded), pixels)
    assert len(examples_of(out, "eval")) == 20


def test_idx_is_the_same_data_uncompressed(tmp_path: Path) -> None:
    source = write_idx(tmp_path / "source")
    out = write_dataset("idx", tmp_path / "out", source).path
    for path in source.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert not write_dataset("idx", out, source).made


def test_idx_colour(tmp_path: Path) -> None:
    source = write_idx(tmp_path / "source", train=3)
    colour = np.random.default_rng(1).integers(0, 256, (3, 4, 5, 3), np.uint8)
    (source / "train-images-idx3-ubyte.gz").unlink()
    (source / "train-images-idx4-ubyte").write_bytes(idx(colour))
    out = write_dataset("idx", tmp_path / "out", source).path
    for (encoded, _), pixels in zip(examples_of(out, "train"), colour, strict=True):
        np.testing.assert_array_equal(pixels_of(encoded), pixels)


_IMAGES = "train-images-idx3-ubyte.gz"


_LABELS = "t10k-labels-idx1-ubyte"


_GOOD = idx(np.zeros((50, 6, 7), np.uint8))


@pytest.mark.parametrize(
    ("file", "contents", "said"),
    [
        (_LABELS, None, f"{_LABELS}[.gz] is missing"),
        (_LABELS, b"", "not an IDX file: it starts with nothing"),
        (_LABELS, b"<html>", "not an IDX file: it starts with 3c 68 74 6d"),
        (_LABELS, b"\0\0\x08\x01\0\0", "ends within its header"),
        (_LABELS, idx(np.zeros(20, np.uint8))[:-1], "ends after 19: it is truncated"),
        (_LABELS, idx(np.zeros(20, np.uint8)) + b"\0", "holds more"),
        (_LABELS, idx(np.zeros(19, np.uint8)), "19 labels, but t10k-images-idx3-ubyte.gz"),
        (_LABELS, idx(np.zeros((20, 1), np.uint8)), "with 2 dimensions"),
        (_IMAGES, b"\0\0\x0d\x03" + _GOOD[4:], "type 0x0d"),
        (_IMAGES, idx(np.zeros((0, 6, 7), np.uint8)), "holds nothing"),
        (_IMAGES, b"\0\0\x08\x03" + b"\xff" * 12, "no shape of images"),
        (_IMAGES, gzip.compress(_GOOD, mtime=0)[:-9], "gzip stream is truncated"),
        (_IMAGES, gzip.compress(_GOOD, mtime=0)[:-8] + b"\1" * 8, "CRC check failed"),
        ("train-images.idx3-ubyte", _GOOD, "are both train images"),
    ],
)
def test_idx_damage_names_the_file(tmp_path: Path, file, contents, said) -> None:
    source = write_idx(tmp_path / "source")
    if contents is None:
        (source / file).unlink()
    else:
        (source / file).write_bytes(contents)
    message = refusal("idx", tmp_path / "out", source)
    assert said in message
    assert file in message
    assert os.listdir(tmp_path) == ["source"]


def test_fashion_mnist_from_a_source_knows_its_labels(tmp_path: Path) -> None:
    source = write_idx(tmp_path / "source")
    made = write_dataset("fashion-mnist", tmp_path / "out", source)
    assert made.manifest.label_names[9] == "Ankle boot"


def test_fashion_mnist_absent_names_the_package(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("pipeline.datasets.idx.FASHION_MNIST", tmp_path / "absent")
    message = refusal("fashion-mnist", tmp_path / "out")
    assert "apt-get install dataset-fashion-mnist" in message
    assert "--source" in message


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        source = write_idx(tmp_path / f"source{count}", train=count, side=16)
        tracemalloc.start()
        write_dataset("idx", tmp_path / f"out{count}", source, records_per_shard=500)
        _, top = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return top

    peak(10)  # imports
    assert peak(6_000) < peak(2_000) + (1 << 20)
