"""`vqvae encode --data` on other people's TFRecords: names, label types, compression, sources."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from components.errors import PipelineError
from components.example_gen.config import FeatureNames
from components.release_store import folder as folder_store
from components.release_store.release import Release
from pipeline.commands.cli import cli
from pipeline.datasets.tfrecord import encode_example
from pipeline.inference import codes_file
from pipeline.inference.bulk_encode import encode_records
from tests.fixtures import tiny_models
from tests.fixtures.tiny_models import expected_codes, png, some_images

THEIRS = {"image": "image/encoded", "label": "image/class/label"}


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Release:
    """Trained on records with the names of TF-Slim."""
    folder = tmp_path_factory.mktemp("models")
    facts = {
        "codebook_sha256": tiny_models.codebook_sha256("a"),
        "config": {"data": {"features": THEIRS}},
        "metrics": {},
    }
    return folder_store.publish(folder / "store", tiny_models.write(folder / "a"), facts)


def write(path: Path, records: list[bytes], compression: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)
    return path


def theirs(image: bytes, label: float | None) -> bytes:
    feature = {"image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))}
    if label is not None:
        floats = tf.train.FloatList(value=[label])
        feature["image/class/label"] = tf.train.Feature(float_list=floats)
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def encode(release, data, out, *, skip_unusable=False, **names):
    return encode_records(
        release, data, out, (), skip_unusable, lambda *_: None, FeatureNames(**names)
    )


def test_the_names_of_the_training_hold_unless_others_are_given(release, tmp_path):
    pixels = some_images(70)
    labels = [None, *map(float, range(69))]
    records = [theirs(png(each), label) for each, label in zip(pixels, labels, strict=True)]
    write(tmp_path / "data/a.tfrecord", records)
    assert encode(release, tmp_path / "data", tmp_path / "codes").images == 70
    stored = codes_file.read(tmp_path / "codes/a-00000.npz")
    np.testing.assert_array_equal(stored.codes, expected_codes(pixels))
    assert stored.labels.tolist() == [-1, *range(69)]

    write(tmp_path / "ours/a.tfrecord", [encode_example(png(each), 3) for each in pixels])
    with pytest.raises(PipelineError) as error:
        encode(release, tmp_path / "ours", tmp_path / "none")
    assert (
        "record 0 cannot be used: no feature `image/encoded`: there are `image` (bytes), `label` "
        "(int64); set data.features.image=image and data.features.label=label; repair"
    ) in str(error.value)
    names = ["--set", "data.features.image=image", "--set", "data.features.label=label"]
    command = ["encode", "--data", tmp_path / "ours", "--out", tmp_path / "set", *names]
    done = CliRunner().invoke(cli, [*map(str, command), "--store", str(release.store)])
    assert done.exit_code == 0, done.exception
    assert codes_file.read(tmp_path / "set/a-00000.npz").labels.tolist() == [3] * 70


@pytest.mark.parametrize("compression", ["", "GZIP", "ZLIB"])
@pytest.mark.parametrize("name", ["a.tfrecord", "a.tfrecord.gz"])
def test_compression_is_told_by_content(release, tmp_path, compression, name):
    pixels = some_images(3)
    write(tmp_path / "data" / name, [theirs(png(each), None) for each in pixels], compression)
    encode(release, tmp_path / "data", tmp_path / "codes")
    stored = codes_file.read(tmp_path / "codes/a-00000.npz")
    np.testing.assert_array_equal(stored.codes, expected_codes(pixels))


def test_what_is_skipped_is_listed_as_by_image_example_gen(release, tmp_path):
    ours = {"image": "image", "label": "label"}
    pixels = some_images(80)
    records = [encode_example(png(each), 1, b"a/%02d.png" % i) for i, each in enumerate(pixels)]
    records[5] = encode_example(png(pixels[5])[:40], 1, b"a/05.png")
    records[6] = theirs(png(pixels[6]), 1.0)
    path = write(tmp_path / "data/a.tfrecord", records)
    with pytest.raises(PipelineError) as error:
        encode(release, tmp_path / "data", tmp_path / "none", **ours)
    assert str(error.value) == (
        f"{path}: record 5, from a/05.png, cannot be used: truncated or corrupt PNG; repair the "
        "file, or leave such records out with --skip-unusable"
    )
    summary = encode(release, tmp_path / "data", tmp_path / "codes", skip_unusable=True, **ours)
    assert (summary.images, summary.skipped) == (78, 2)
    assert summary.skipped_example == (
        "record 5 of a.tfrecord, from a/05.png (truncated or corrupt PNG)"
    )
    lines = (tmp_path / "codes/skipped.jsonl").read_text().splitlines()
    cut, foreign = map(json.loads, lines)
    assert cut == {
        "file": "a.tfrecord",
        "record": 5,
        "reason": "truncated or corrupt PNG",
        "source": "a/05.png",
    }
    assert (foreign["record"], foreign["reason"]) == (6, "no feature `image`")
    kept = [i for i in range(80) if i not in (5, 6)]
    stored = codes_file.read(tmp_path / "codes/a-00000.npz")
    assert stored.records.tolist() == kept
    np.testing.assert_array_equal(stored.codes, expected_codes(pixels[kept]))


def test_names_that_do_not_go_together_are_refused(release, tmp_path):
    write(tmp_path / "data/a.tfrecord", [b""])
    with pytest.raises(PipelineError, match="give both image and label"):
        encode(release, tmp_path / "data", tmp_path / "none", image="image/class/label")
