"""`vqvae encode --data` and `decode --data`: TFRecords to codes and back, by Beam."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

from components.errors import PipelineError, notes, one_line
from pipeline.commands.cli import cli
from pipeline.datasets import tfrecord
from pipeline.datasets.tfrecord import encode_example
from pipeline.inference import bulk_encode, codes_file
from pipeline.inference.bulk_decode import decode_codes
from pipeline.inference.bulk_encode import encode_records
from pipeline.inference.disk import opened
from tests.fixtures import tiny_models
from tests.fixtures.tiny_models import expected_codes, png, some_images


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Release 1 has codebook a, release 2 codebook b."""
    folder = tmp_path_factory.mktemp("models")
    for codebook in "ab":
        candidates = tiny_models.write(folder / codebook, codebook)
        tiny_models.publish(folder / "store", candidates, codebook)
    return folder / "store"


@pytest.fixture(scope="module")
def releases(store):
    with opened(str(store), 1, "decode") as first, opened(str(store), 2, "decode") as second:
        yield {1: first, 2: second}


def write_records(path: Path, records: list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".gz"):
        with tfrecord.create(path) as writer:
            for record in records:
                writer.write(record)
    else:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)


def examples(pixels, labels=None) -> list[bytes]:
    labels = [None] * len(pixels) if labels is None else labels
    return [encode_example(png(each), label) for each, label in zip(pixels, labels, strict=True)]


def read_records(path: Path) -> list[tuple[np.ndarray, int | None]]:
    """(pixels, label) of a TFRecord file."""
    found = []
    for record in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        (image,) = feature["image"].bytes_list.value
        label = list(feature["label"].int64_list.value) if "label" in feature else []
        found.append((tf.io.decode_png(image).numpy()[..., 0], label[0] if label else None))
    return found


def encode(models, data, out, *, beam_args=(), skip_unusable=False):
    return encode_records(models.release, data, out, beam_args, skip_unusable, lambda *_: None)


def decode(models, data, out, *, beam_args=(), chosen=False, force=False):
    return decode_codes(models, data, out, beam_args, lambda *_: None, chosen=chosen, force=force)


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize(
    "beam_args",
    [
        ("--direct_running_mode=multi_threading", "--direct_num_workers=2"),
        pytest.param(
            ("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_there_and_back_with_layout_and_labels(releases, tmp_path, beam_args):
    pixels = some_images(220)
    labels = [index % 10 for index in range(150)]
    write_records(tmp_path / "data/train/a.tfrecord.gz", examples(pixels[:70], labels[:70]))
    write_records(tmp_path / "data/train/b.tfrecord", examples(pixels[70:150], labels[70:]))
    write_records(tmp_path / "data/eval/images.tfrecord-00000-of-00001", examples(pixels[150:]))
    write_records(tmp_path / "data/eval/none.tfrecord.gz", [])
    (tmp_path / "data/dataset.json").write_text("{}")
    summary = encode(releases[1], tmp_path / "data", tmp_path / "codes", beam_args=beam_args)
    assert (summary.images, summary.files, summary.skipped) == (220, 3, 0)
    assert files(tmp_path / "codes") == [
        "eval/images.tfrecord-00000-of-00001-00000.npz",
        "train/a-00000.npz",
        "train/b-00000.npz",
    ]
    stored = codes_file.read(tmp_path / "codes/train/b-00000.npz")
    np.testing.assert_array_equal(stored.codes, expected_codes(pixels[70:150]))
    assert stored.labels.tolist() == labels[70:]
    assert stored.records.tolist() == list(range(80))
    assert stored.names[3] == "b-0000003"
    assert stored.sizes.tolist() == [[4, 6]] * 80
    assert (stored.release, stored.codebook_sha256) == (1, tiny_models.codebook_sha256("a"))
    last = codes_file.read(tmp_path / "codes" / files(tmp_path / "codes")[0])
    assert last.labels is None

    summary = decode(releases[1], tmp_path / "codes", tmp_path / "back", beam_args=beam_args)
    assert (summary.images, summary.files, summary.note) == (220, 3, "")
    assert sorted(os.listdir(tmp_path / "back")) == ["eval", "train"]
    found = [
        each
        for name in ("train/a-00000", "train/b-00000", "eval/images.tfrecord-00000-of-00001-00000")
        for each in read_records(tmp_path / f"back/{name}.tfrecord.gz")
    ]
    np.testing.assert_array_equal([image for image, _ in found], pixels)
    assert [label for _, label in found] == labels + [None] * 70


def test_shards_are_bounded_and_complete(releases, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk_encode, "IMAGES_PER_FILE", 100)
    pixels = some_images(330)
    write_records(tmp_path / "data/a.tfrecord.gz", examples(pixels))
    encode(releases[1], tmp_path / "data", tmp_path / "codes")
    shards = [codes_file.read(tmp_path / "codes" / name) for name in files(tmp_path / "codes")]
    assert len(shards) > 3
    assert max(map(len, shards)) <= 100
    np.testing.assert_array_equal(np.concatenate([s.records for s in shards]), np.arange(330))
    np.testing.assert_array_equal(np.concatenate([s.codes for s in shards]), expected_codes(pixels))


def test_some_images_without_a_label(releases, tmp_path):
    pixels = some_images(3)
    write_records(tmp_path / "data/a.tfrecord.gz", examples(pixels, [4, None, -1]))
    encode(releases[1], tmp_path / "data", tmp_path / "codes")
    assert codes_file.read(tmp_path / "codes/a-00000.npz").labels.tolist() == [4, -1, -1]
    decode(releases[1], tmp_path / "codes", tmp_path / "back")
    found = read_records(tmp_path / "back/a-00000.tfrecord.gz")
    assert [label for _, label in found] == [4, None, None]
    np.testing.assert_array_equal([image for image, _ in found], pixels)


BAD = {
    3: (b"", "empty record"),
    64: (b"\xff\xff no example", "not a tf.train.Example"),
    65: (encode_example(b"GIF89a...", 1), "GIF image, not PNG or JPEG"),
    99: (encode_example(png(some_images(1)[0])[:50], 1), "truncated or corrupt PNG"),
    100: (encode_example(png(some_images(1)[0]), -7), "`label` below -1"),
}


@pytest.fixture
def damaged(tmp_path) -> Path:
    records = examples(some_images(150), range(150))
    for index, (record, _) in BAD.items():
        records[index] = record
    write_records(tmp_path / "data/train/a.tfrecord.gz", records)
    write_records(tmp_path / "data/eval/b.tfrecord.gz", examples(some_images(5)))
    return tmp_path / "data"


def test_an_unusable_record_stops(releases, damaged, tmp_path):
    with pytest.raises(PipelineError) as caught:
        encode(releases[1], damaged, tmp_path / "codes")
    assert str(caught.value) == (
        f"{damaged}/train/a.tfrecord.gz: record 3 cannot be used: empty record; repair the file, "
        "or leave such records out with --skip-unusable"
    )
    assert not (tmp_path / "codes").exists()


def test_unusable_records_are_left_out_and_listed(releases, damaged, tmp_path):
    summary = encode(releases[1], damaged, tmp_path / "codes", skip_unusable=True)
    assert (summary.images, summary.skipped) == (150, len(BAD))
    assert summary.skipped_example == "record 3 of train/a.tfrecord.gz (empty record)"
    lines = (tmp_path / "codes/skipped.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"file": "train/a.tfrecord.gz", "record": index, "reason": reason}
        for index, (_, reason) in BAD.items()
    ]
    stored = codes_file.read(tmp_path / "codes/train/a-00000.npz")
    kept = [index for index in range(150) if index not in BAD]
    assert stored.records.tolist() == kept
    assert stored.labels.tolist() == kept
    np.testing.assert_array_equal(stored.codes, expected_codes(some_images(150)[kept]))
    assert decode(releases[1], tmp_path / "codes", tmp_path / "back").images == 150


def test_a_file_of_nothing_usable(releases, tmp_path):
    write_records(tmp_path / "data/a.tfrecord.gz", [b"x", b""])
    summary = encode(releases[1], tmp_path / "data", tmp_path / "codes", skip_unusable=True)
    assert (summary.images, summary.files, summary.skipped) == (0, 0, 2)


def test_a_damaged_file_is_named_and_nothing_is_left(releases, damaged, tmp_path):
    path = damaged / "eval/b.tfrecord.gz"
    path.write_bytes(path.read_bytes()[:-20])
    (tmp_path / "codes").mkdir()
    with pytest.raises(PipelineError, match=r"b\.tfrecord\.gz: is not a whole TFRecord file"):
        encode(releases[1], damaged, tmp_path / "codes", skip_unusable=True)
    assert os.listdir(tmp_path / "codes") == []


def test_a_full_disk_does_not_hide_what_stopped_a_worker(releases, damaged, tmp_path, monkeypatch):
    write_text = Path.write_text

    def full(path: Path, *arguments, **options) -> int:
        if path.parent.name != "failed":
            return write_text(path, *arguments, **options)
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(Exception, match="cannot be used") as failed:
        encode(releases[1], damaged, tmp_path / "codes")
    assert "record 3 cannot be used" in one_line(failed.value)
    assert "No space left on device" in str(notes(failed.value))
    assert not (tmp_path / "codes").exists()


def test_an_output_that_is_not_empty_is_left_alone(releases, damaged, tmp_path):
    (tmp_path / "codes").mkdir()
    (tmp_path / "codes/mine").write_text("x")
    with pytest.raises(PipelineError, match="is not empty, it holds mine"):
        encode(releases[1], damaged, tmp_path / "codes")
    assert files(tmp_path / "codes") == ["mine"]
    (tmp_path / "half/.unfinished").mkdir(parents=True)
    with pytest.raises(PipelineError, match="was left unfinished"):
        encode(releases[1], damaged, tmp_path / "half")
    with pytest.raises(PipelineError, match="is unfinished; make it again"):
        decode(releases[1], tmp_path / "half", tmp_path / "back")


def test_nothing_to_read(releases, tmp_path):
    with pytest.raises(PipelineError, match="no such folder"):
        encode(releases[1], tmp_path / "nowhere", tmp_path / "codes")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PipelineError, match="holds no TFRecords"):
        encode(releases[1], tmp_path / "empty", tmp_path / "codes")
    with pytest.raises(PipelineError, match="holds no files of codes"):
        decode(releases[1], tmp_path / "empty", tmp_path / "codes")
    assert not (tmp_path / "codes").exists()


def test_names_that_differ_in_their_ending_only(releases, tmp_path):
    pixels = some_images(2)
    write_records(tmp_path / "data/a.tfrecord.gz", examples(pixels[:1]))
    write_records(tmp_path / "data/a.tfrecord", examples(pixels[1:]))
    encode(releases[1], tmp_path / "data", tmp_path / "codes")
    assert files(tmp_path / "codes") == ["a.tfrecord-00000.npz", "a.tfrecord.gz-00000.npz"]


def test_the_codebook_decides_the_release(releases, tmp_path):
    pixels = some_images(4)
    write_records(tmp_path / "data/a.tfrecord.gz", examples(pixels))
    encode(releases[1], tmp_path / "data", tmp_path / "codes")
    summary = decode(releases[2], tmp_path / "codes", tmp_path / "back")
    assert "with release 1" in summary.note
    found = read_records(tmp_path / "back/a-00000.tfrecord.gz")
    np.testing.assert_array_equal([image for image, _ in found], pixels)
    with pytest.raises(PipelineError, match="belong to the codebook of release 1"):
        decode(releases[2], tmp_path / "codes", tmp_path / "not", chosen=True)
    encode(releases[2], tmp_path / "data", tmp_path / "codes/more")
    with pytest.raises(PipelineError, match="of another codebook than those of"):
        decode(releases[2], tmp_path / "codes", tmp_path / "not")
    assert not (tmp_path / "not").exists()


def test_the_command(store, damaged, tmp_path):
    def vqvae(*arguments: object) -> str:
        result = CliRunner().invoke(cli, [*map(str, arguments), "--store", str(store)])
        assert result.exit_code == 0, result.exception
        return result.output

    arguments = ("encode", "--data", damaged, "--out", tmp_path / "codes", "--version", 1)
    said = vqvae(*arguments, "--skip-unusable", "--set", "beam.args=[--no_pipeline_type_check]")
    assert "150 images in 2 files" in said
    assert "images/s)" in said
    assert "left out 5 unusable records, such as record 3 of" in said
    said = vqvae("decode", "--data", tmp_path / "codes", "--out", tmp_path / "back")
    assert "decoded with release 1" in said
    # One file of a folder decodes by itself.
    vqvae("decode", tmp_path / "codes/eval/b-00000.npz", "--out", tmp_path / "png")
    shown = np.asarray(Image.open(tmp_path / "png/b-0000002.png"))
    np.testing.assert_array_equal(shown, some_images(5)[2])


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_error_is_one_line_whatever_beam_makes_of_it(store, damaged, tmp_path, count):
    workers = f"beam.workers={count}"
    command = [
        *(sys.executable, "-m", "pipeline", "encode", "--store", store, "--set", workers),
        *("--data", damaged, "--out", tmp_path / "codes"),
    ]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"error: {damaged}/train/a.tfrecord.gz: record 3 cannot be ")
    assert failed.stderr.count("\n") == 1
    assert failed.stdout == ""
    assert not (tmp_path / "codes").exists()
