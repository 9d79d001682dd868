"""ImageExampleGen under LocalDagRunner: what is kept, what is reported, what stops the run."""

import gzip
import json
import os
import zlib

import pytest
import tensorflow as tf
from tfx import v1 as tfx

from components import contents
from components.errors import PipelineError, notes
from components.example_gen import layout
from components.example_gen.component import ImageExampleGen
from components.example_gen.executor import Executor
from tests.fixtures.ingestion import (
    Run,
    assert_nothing_left,
    example,
    good,
    picture,
    read,
    summary,
    write,
)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


def test_splits_are_kept_plain_and_gzip_alike(tmp_path, run):
    records = good(40)
    write(tmp_path / "data/train/a.tfrecord", records[:20])
    write(tmp_path / "data/train/b-00000-of-00001.tfrecord.gz", records[20:30])
    write(tmp_path / "data/eval/a.tfrecord.gz", records[30:])
    (tmp_path / "data/train/c.tfrecord.gz.tmp").write_bytes(b"half a shard")
    (tmp_path / "data/dataset.json").write_text('{"label_names": ["dog", "cat"]}')
    uri = run(tmp_path / "data")
    assert read(uri, "train") == records[:30]
    assert read(uri, "eval") == records[30:]
    assert summary(uri)["splits"] == {"train": 30, "eval": 10}
    assert sorted(path.name for path in uri.iterdir()) == [
        *("Split-eval", "Split-train", "contents.json", "rejected")
    ]
    for split, count in {"train": 30, "eval": 10}.items():
        held = contents.files([f"{uri}/Split-{split}/*"])
        assert sum(file.records for file in held.values()) == count
    (artifact,) = run.artifacts()
    assert artifact.properties["split_names"].string_value == '["train", "eval"]'
    assert artifact.custom_properties["num_records"].int_value == 40
    assert artifact.custom_properties["num_rejected"].int_value == 0
    assert artifact.custom_properties["label_names"].string_value == '["dog", "cat"]'


def test_unchanged_data_is_cached_and_changed_data_or_code_is_not(tmp_path, run):
    write(tmp_path / "data/train/a.tfrecord", good(5))
    write(tmp_path / "data/eval/a.tfrecord", good(5, 50))
    first = run(tmp_path / "data")
    assert run(tmp_path / "data") == first
    assert run(tmp_path / "data", code_version="2") != first
    write(tmp_path / "data/eval/b.tfrecord", good(5, 60))
    assert len(read(run(tmp_path / "data"), "eval")) == 10


def test_a_flat_set_is_split_by_the_images_hash(tmp_path, run):
    records = good(200)
    write(tmp_path / "data/a.tfrecord", records[:100])
    write(tmp_path / "data/b.tfrecord.gz", records[100:])
    uri = run(tmp_path / "data")
    train, evaluation = set(read(uri, "train")), set(read(uri, "eval"))
    assert len(train) + len(evaluation) == 200
    assert train | evaluation == set(records)
    assert 5 <= len(evaluation) <= 40

    # The same images in another order, in other files and with other labels, go the same way.
    moved = [example(picture(i), 3) for i in reversed(range(200))]
    write(tmp_path / "moved/all.tfrecord", moved)
    again = run(tmp_path / "moved")

    def images(records):
        found = (tf.train.Example.FromString(record).features.feature for record in records)
        return {feature["image"].bytes_list.value[0] for feature in found}

    assert images(read(again, "eval")) == images(evaluation)


def test_the_highest_span_is_read(tmp_path, run):
    for span, count in ((1, 5), (2, 6), (10, 7)):
        write(tmp_path / f"data/span-{span}/train/a.tfrecord", good(count))
        write(tmp_path / f"data/span-{span}/eval/a.tfrecord", good(3, 70))
    uri = run(tmp_path / "data")
    assert len(read(uri, "train")) == 7
    assert run.artifacts()[-1].custom_properties["span"].int_value == 10
    write(tmp_path / "days/2026-11-03/v1/a.tfrecord", good(50))
    write(tmp_path / "days/2026-11-03/v2/a.tfrecord", good(60))
    uri = run(str(tmp_path / "days/{YYYY}-{MM}-{DD}/v{VERSION}"))
    assert len(read(uri, "train")) + len(read(uri, "eval")) == 60


def test_paths_are_literal_and_splits_in_names_are_kept(tmp_path, run):
    data, records = tmp_path / "a [1]*?", good(30)
    train = write(data / "day-007/my-train.tfrecord-00000-of-00001", records[:20])
    write(data / "day-007/my-test.tfrecord-00000-of-00001", records[20:])
    write(tmp_path / "a 1x/day-008/a.tfrecord", good(3))
    uri = run(data / "day-{SPAN}")
    assert read(uri, "train") == records[:20]
    assert read(uri, "eval") == records[20:]
    assert run.artifacts()[-1].custom_properties["span"].int_value == 7
    assert run(data / "day-{SPAN}") == uri
    # Written again within a second, in as many bytes.
    changed = train.stat().st_mtime_ns
    write(train, good(20, 40))
    os.utime(train, ns=(changed, changed // 10**9 * 10**9 + (changed + 1) % 10**9))
    assert read(run(data / "day-{SPAN}"), "train") == good(20, 40)


def test_files_that_change_while_they_are_read_stop_the_run(tmp_path, run, monkeypatch):
    write(tmp_path / "data/a.tfrecord", good(40))
    sort = Executor._sort

    def late(*arguments):
        results = sort(*arguments)
        write(tmp_path / "data/b.tfrecord", good(2))
        return results

    monkeypatch.setattr(Executor, "_sort", late)
    with pytest.raises(PipelineError, match="/data changed while they were read; run it again"):
        run(tmp_path / "data")
    assert_nothing_left(run)


PNG, JPEG = picture(900), picture(901, "JPEG", side=32)
BAD = {  # by the reason that is told
    "empty record": b"",
    "not a tf.train.Example": b"\x0a\xff\xff not a message",
    "no feature `image`": example(label=3),
    "`image` is not a bytes feature": example(image=[1, 2, 3]),
    "`image` does not hold exactly one value": example(image=[PNG, PNG]),
    "`label` is a float that is no class index such as 0, 1, 2": example(PNG, 1.5),
    "`label` holds more than one value": example(PNG, [1, 2]),
    "`label` below -1": example(PNG, -2),
    "empty image": example([b""]),
    "truncated or corrupt PNG": example(PNG[: len(PNG) // 2]),
    "truncated or corrupt JPEG": example(JPEG[: len(JPEG) // 2]),
    "GIF image, not PNG or JPEG": example(picture(1, "GIF")),
    "BMP image, not PNG or JPEG": example(picture(1, "BMP")),
    "WebP image, not PNG or JPEG": example(picture(1, "WEBP")),
    "not a PNG or JPEG image": example(b"hello"),
}


DETAILS = {
    "no feature `image`": "there are `label` (int64)",
    "`image` is not a bytes feature": "there are `image` (int64 × 3)",
    "`label` is a float that is no class index such as 0, 1, 2": "1.5",
}


def test_unusable_records_are_left_out_and_reported(tmp_path, run):
    usable = [*good(97), example(PNG), example(JPEG, -1), example(JPEG, 4, weight=0.5)]
    mixed = list(usable)
    for i, record in enumerate(BAD.values()):
        mixed.insert(7 * i, record)
    write(tmp_path / "data/train/a.tfrecord.gz", mixed)
    write(tmp_path / "data/train/b.tfrecord", good(3))
    write(tmp_path / "data/eval/a.tfrecord", good(10, 300))
    uri = run(tmp_path / "data", max_rejected_fraction=0.2)
    assert read(uri, "train") == usable + good(3)
    found = summary(uri)
    assert (found["records"], found["rejected"]) == (113 + len(BAD), len(BAD))
    assert found["reasons"] == dict.fromkeys(BAD, 1)
    (report,) = (uri / "rejected").glob("records-*.jsonl")
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    path = str(tmp_path / "data/train/a.tfrecord.gz")
    assert [
        (line["file"], line["record"], line["reason"], line.get("detail")) for line in lines
    ] == [(path, 7 * i, reason, DETAILS.get(reason)) for i, reason in enumerate(BAD)]
    assert run.rejected.read_text() == report.read_text()
    assert run.artifacts()[-1].custom_properties["num_rejected"].int_value == len(BAD)


def test_a_class_that_only_one_split_has_is_said(tmp_path, run, caplog):
    train = [example(picture(i), label) for i, label in enumerate([0, 1, 2, 4, *range(10, 20)])]
    write(tmp_path / "data/train/a.tfrecord", train)
    write(tmp_path / "data/eval/a.tfrecord", [example(picture(i), i % 4) for i in range(50, 60)])
    with caplog.at_level("WARNING", "vqvae.data"):
        run(tmp_path / "data")
    said = [record.getMessage() for record in caplog.records if record.name == "vqvae.data"]
    assert [message.partition(", which another")[0] for message in said] == [
        "eval has no record of class 4, 10, 11, 12, 13 and 6 more",
        "train has no record of class 3",
    ]
    assert all(message.endswith(f"split of {tmp_path / 'data'} has") for message in said)


def test_images_without_labels_lack_no_class(tmp_path, run, caplog):
    write(tmp_path / "data/train/a.tfrecord", [example(picture(i), -1) for i in range(5)])
    write(tmp_path / "data/eval/a.tfrecord", [example(picture(i)) for i in range(50, 53)])
    with caplog.at_level("WARNING", "vqvae.data"):
        run(tmp_path / "data")
    assert not [record for record in caplog.records if record.name == "vqvae.data"]


def test_too_many_unusable_records_stop_the_run(tmp_path, run):
    write(tmp_path / "data/train/a.tfrecord", [*good(50), b"", b"", BAD["empty image"]])
    write(tmp_path / "data/eval/a.tfrecord", [*good(46), BAD["`label` below -1"]])
    with pytest.raises(PipelineError) as error:
        run(tmp_path / "data", max_rejected_fraction=0.03)
    assert str(error.value) == (
        f"ImageExampleGen: 4 of 100 records in {tmp_path}/data are unusable (4.00%, at most 3.00% "
        "allowed): 2 × empty record, 1 × `label` below -1, 1 × empty image; the "
        f"first is record 50 of {tmp_path}/data/train/a.tfrecord (empty record); most in "
        f"{tmp_path}/data/train/a.tfrecord: 3 of 53, mainly empty record; all are listed in "
        f"{run.rejected}; repair the data or raise data.max_rejected_fraction"
    )
    assert_nothing_left(run)
    assert len(read(run(tmp_path / "data", max_rejected_fraction=0.04), "train")) == 50


def flip_a_bit(data: bytes) -> bytes:
    return data[:-90] + bytes([data[-90] ^ 1]) + data[-89:]


@pytest.mark.parametrize(
    ("name", "damage", "what"),
    [
        ("b.tfrecord", lambda data: data[:-20], "truncated or corrupt"),
        ("b.tfrecord", flip_a_bit, "truncated or corrupt"),
        ("b.tfrecord.gz", lambda data: data[: len(data) // 2], "truncated or corrupt"),
        ("b.tfrecord.gz", lambda data: b"", "an empty file, which is no gzip"),
        ("b.tfrecord", lambda data: gzip.compress(data)[:-200], "truncated or corrupt"),
        ("b.tfrecord", lambda data: zlib.compress(data)[:-200], "truncated or corrupt"),
        ("b.tfrecord.gz", lambda data: b"<html>not found</html>", "truncated or corrupt"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, run, name, damage, what):
    write(tmp_path / "data/train/a.tfrecord", good(10))
    write(tmp_path / "data/eval/a.tfrecord", good(10))
    path = write(tmp_path / "data/train" / name, good(200))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PipelineError, match=f"{path} is not a whole TFRecord file: {what}"):
        run(tmp_path / "data", max_rejected_fraction=1.0)
    assert_nothing_left(run)


def test_a_split_that_ends_up_empty_stops_the_run(tmp_path, run):
    write(tmp_path / "data/train/a.tfrecord", good(10))
    write(tmp_path / "data/eval/a.tfrecord", [b"", b""])
    with pytest.raises(PipelineError, match=r"split 'eval' of .*data is empty: none of 12 records"):
        run(tmp_path / "data", max_rejected_fraction=1.0)
    assert_nothing_left(run)


def test_splits_that_cannot_be_removed_do_not_hide_why_the_run_stopped(tmp_path, run, monkeypatch):
    def refuse(uri: str) -> None:
        if "Split-" in uri:
            raise OSError(16, "Device or resource busy")

    write(tmp_path / "data/train/a.tfrecord", [b""] * 5)
    write(tmp_path / "data/eval/a.tfrecord", good(5))
    monkeypatch.setattr("components.example_gen.executor._remove", refuse)
    with pytest.raises(PipelineError, match=r"5 of 10 records in .* are unusable") as failed:
        run(tmp_path / "data")
    first, second = notes(failed.value)
    assert "Split-train is left" in first
    assert "Split-eval is left" in second


def test_files_that_vanish_after_the_layout_was_found(tmp_path, run):
    write(tmp_path / "data/train/a.tfrecord", good(2))
    gone = write(tmp_path / "data/eval/a.tfrecord", good(2))
    found = layout.input_config_for(str(tmp_path / "data"))
    gone.unlink()
    component = ImageExampleGen(*found[:3], code_version="1")
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(
        str(tmp_path / "metadata.sqlite")
    )
    pipeline = tfx.dsl.Pipeline(
        "ingest",
        str(tmp_path / "pipeline"),
        components=[component],
        metadata_connection_config=connection,
    )
    with pytest.raises(PipelineError, match=r"no TFRecord files match .*/data/eval/"):
        tfx.orchestration.LocalDagRunner().run(pipeline)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no image TFRecords in {data}; expected train/"),
        (["notes.txt", "train/a.csv"], "no image TFRecords in {data}; expected train/"),
        (["train/a.tfrecord"], "{data} has train/.* but no eval/"),
        (["eval/a.tfrecord.gz"], "{data} has eval/.* but no train/"),
        (["a.tfrecord", "train/a.tfrecord"], "{data} holds TFRecords both directly and in train/"),
        (["span-1/a.txt"], "no image TFRecords in {data}/span-{{SPAN}}; expected"),
    ],
)
def test_directories_without_a_layout_are_explained(tmp_path, files, message):
    data = tmp_path / "data"
    data.mkdir()
    for name in files:
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).touch()
    with pytest.raises(PipelineError, match=message.format(data=data)):
        layout.input_config_for(str(data))


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(PipelineError, match=f"no directory {tmp_path}/none; expected train/"):
        layout.input_config_for(f"{tmp_path}/none")
    with pytest.raises(PipelineError, match=f"no directory {tmp_path}/none; expected train/"):
        layout.input_config_for(f"{tmp_path}/none/day-{{SPAN}}")


def test_all_settings_are_part_of_the_cache_key(tmp_path):
    write(tmp_path / "data/a.tfrecord", good(2))
    component = ImageExampleGen(str(tmp_path / "data"), code_version="abc")
    packed = component.exec_properties["custom_config"]
    assert "abc" in packed
    assert "max_rejected_fraction" in packed
    assert "partition_feature_name" in component.exec_properties["output_config"]
