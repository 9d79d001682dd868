"""`vqvae data folder` on damaged images: said when they are met, and whole ones kept."""

from __future__ import annotations

import io
import json
import struct
import threading
import zlib
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

from models import images
from pipeline.commands.cli import cli
from pipeline.datasets import decodable
from pipeline.datasets.in_order import WORKERS, in_order
from pipeline.datasets.writer import write_dataset


def encoded(seed: int, kind: str, side: int = 48, **options) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 9, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def records(folder: Path) -> list[dict[str, list]]:
    paths = sorted(str(path) for path in folder.rglob("*.tfrecord.gz"))
    found = []
    for record in tf.data.TFRecordDataset(paths, "GZIP").as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        found.append({name: feature[name].bytes_list.value[0] for name in ("image", "source")})
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """40 JPEGs of two classes, of which three are cut short; a cut PNG; and a note."""
    for number in range(40):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = encoded(number, "JPEG")
        path.write_bytes(data[: len(data) * 2 // 3] if number in (7, 19, 34) else data)
    (tmp_path / "photos/a/cut.png").write_bytes(encoded(1, "PNG")[:-2])
    (tmp_path / "photos/a/note.txt").write_text("two classes")
    return tmp_path / "photos"


def test_the_command_names_what_it_could_not_decode(photos, tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(cli, ["data", "folder", str(out), "--source", str(photos)])
    assert done.exit_code == 0, done.exception
    assert done.stderr.splitlines()[-3:] == [
        "left out 4 images that cannot be decoded (9.76%): a/034.jpg (truncated or corrupt JPEG), "
        "a/cut.png (truncated or corrupt PNG), b/007.jpg (truncated or corrupt JPEG), …",
        "passed over 1 file that Pillow cannot read as an image, such as a/note.txt",
        f"all that was left out is listed in {out}/skipped.jsonl",
    ]
    lines = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert lines == [
        {"file": "a/034.jpg", "reason": "truncated or corrupt JPEG"},
        {"file": "a/cut.png", "reason": "truncated or corrupt PNG"},
        {"file": "b/007.jpg", "reason": "truncated or corrupt JPEG"},
        {"file": "b/019.jpg", "reason": "truncated or corrupt JPEG"},
        {"file": "a/note.txt", "reason": "not an image that Pillow reads"},
    ]
    manifest = json.loads((out / "dataset.json").read_text())
    assert (manifest["skipped_files"], manifest["damaged_files"]) == (5, 4)
    assert sum(manifest["images"].values()) == 37
    again = CliRunner().invoke(cli, ["data", "folder", str(out), "--source", str(photos)])
    assert "already there" in again.stdout
    assert "left out 4 images" in again.stderr


def test_every_record_says_which_file_it_came_from(photos, tmp_path):
    odd = photos / "a" / "caf\udce9.jpg"  # Latin-1
    odd.write_bytes(encoded(99, "JPEG"))
    found = records(write_dataset("folder", tmp_path / "out", photos).path)
    assert len(found) == 38
    for each in found:
        path = photos / each["source"].decode("utf-8", "surrogateescape")
        assert path.read_bytes() == each["image"]


def test_nothing_is_listed_where_nothing_was_left_out(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / f"in/{number}.png").write_bytes(encoded(number, "PNG"))
    out = write_dataset("folder", tmp_path / "out", tmp_path / "in").path
    assert sorted(path.name for path in out.iterdir()) == ["dataset.json", "eval", "train"]


def note_behind(png: bytes, checksum: int) -> bytes:
    """A PNG with a comment behind its pixels, whose checksum is wrong by `checksum`."""
    chunk = b"tEXt" + b"Comment\0hello"
    crc = struct.pack(">I", zlib.crc32(chunk) ^ checksum)
    return png[:-12] + struct.pack(">I", len(chunk) - 4) + chunk + crc + png[-12:]


PNG, JPEG = encoded(0, "PNG"), encoded(0, "JPEG")
FILES = {
    "PNG": PNG,
    "JPEG": JPEG,
    "progressive": encoded(0, "JPEG", progressive=True),
    "trailing PNG": PNG + b"more",
    "trailing JPEG": JPEG + b"more",
    "comment": note_behind(PNG, 0),
    "broken comment": note_behind(PNG, 1),
    "flipped PNG": PNG[:500] + bytes([PNG[500] ^ 1]) + PNG[501:],
    "header PNG": PNG[:8],
    "header JPEG": JPEG[:3],
    **{f"PNG-{cut}": PNG[:-cut] for cut in (1, 4, 8, 12, 13, 16, 100, 4000)},
    **{f"JPEG-{cut}": JPEG[:-cut] for cut in (1, 2, 3, 16, 100, 2000)},
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_it_decides_as_the_decoder_of_the_pipeline_does(data):
    assert decodable.damage(data) == (images.reason_unusable(data) or "")


def test_results_come_in_order_however_long_each_takes():
    started: list[int] = []
    first_may_end = threading.Event()

    def work(number: int) -> int:
        started.append(number)
        if number == 0:
            first_may_end.wait()
        elif number == 5:
            first_may_end.set()
        return number * number

    assert list(in_order(work, range(2000))) == [(n, n * n) for n in range(2000)]


def test_what_is_ahead_is_bounded_and_an_error_comes_at_its_place():
    taken: list[int] = []

    def numbers():
        for number in range(10_000):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        if number == 300:
            raise ValueError("300")
        return number

    results = in_order(work, numbers())
    assert [number for number, _ in islice(results, 300)] == list(range(300))
    with pytest.raises(ValueError, match="300"):
        next(results)
    assert len(taken) <= 300 + WORKERS * 8 + 2
