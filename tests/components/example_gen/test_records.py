"""Other people's TFRecords: names, label types and compression; and images named by their file."""

import json
from pathlib import Path

import pytest

from components.errors import PipelineError
from components.example_gen import record_file
from components.example_gen.config import FeatureNames
from components.example_gen.image_check import ImageCheck
from components.example_gen.records import FileResult, InputFile, Split, sort_records
from tests.fixtures.ingestion import (
    Run,
    assert_nothing_left,
    example,
    features,
    good,
    picture,
    read,
    write,
)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


@pytest.mark.parametrize("name", ["a.tfrecord", "a.tfrecord.gz"])
@pytest.mark.parametrize("compression", ["", "GZIP", "ZLIB"])
@pytest.mark.parametrize("size", [100, 0x8B1F, 0x9C78])  # lengths that read as gzip and as ZLIB
def test_compression_is_told_by_content(tmp_path, name, compression, size):
    records = [b"x" * size, b"", b"y"]
    path = write(tmp_path / name, records, compression)
    (batch,) = record_file.batches(str(path), 64)
    assert batch.numpy().tolist() == records


SLIM = {"image": "image/encoded", "label": "image/class/label"}


def imported(encoded: bytes, number, **more) -> bytes:
    return example(**{"image/encoded": encoded, "image/class/label": number, **more})


def sort(tmp_path: Path, records: list[bytes], **names) -> tuple[list[dict], FileResult]:
    """The features of what is kept of a file, and what is said of the rest."""
    uri = tmp_path / "sorted"
    for folder in ("Split-all", "rejected", "scratch"):
        (uri / folder).mkdir(parents=True, exist_ok=True)
    source = InputFile(0, str(write(tmp_path / "a.tfrecord", records)), (Split("all"),))
    result = sort_records(
        source,
        ImageCheck(FeatureNames(**names).of("image")),
        lambda split: str(uri / f"Split-{split}"),
        str(uri / "rejected"),
        str(uri / "scratch"),
        records_per_file=1000,
    )
    return [features(record) for record in read(uri, "all")], result


@pytest.mark.parametrize("as_label", [int, float, lambda number: str(number).encode()])
def test_names_and_labels_of_others_come_out_as_ours(tmp_path, as_label):
    numbers = [0, 1, 7, -1, 99_999]
    records = [imported(picture(i), as_label(n), seed=i) for i, n in enumerate(numbers)]
    # Without a label, and beside features that have our names but are not meant.
    records.append(imported(picture(5), None, label=3, image=b"thumbnail"))
    kept, result = sort(tmp_path, records, **SLIM)
    assert kept == [
        *({"image": [picture(i)], "label": [n], "seed": [i]} for i, n in enumerate(numbers)),
        {"image": [picture(5)]},
    ]
    assert not result.rejected


def test_labels_of_several_types_in_one_file(tmp_path):
    labels = [3, 4.0, b"5", None, 6] * 30
    kept, result = sort(tmp_path, [example(picture(1), label) for label in labels])
    assert [one.get("label") for one in kept] == [[3], [4], [5], None, [6]] * 30
    assert not result.rejected


@pytest.mark.parametrize(
    ("label", "what", "shown"),
    [
        (0.5, "a float", "0.5"),
        (float("nan"), "a float", "nan"),
        (float("inf"), "a float", "inf"),
        (2.0**24 + 2, "a float", "16777218.0"),  # a float32 has no 16,777,217
        (b"tabby cat", "text", "'tabby cat'"),
        (b"", "text", "''"),
        (b"007", "text", "'007'"),  # 7 is another text
        (b"+7", "text", "'+7'"),
        (b"9" * 19, "text", repr("9" * 19)),
        (b"caf\xe9", "text", repr("caf\\xe9")),
    ],
)
def test_a_label_that_no_number_is_exactly_is_refused_with_its_value(tmp_path, label, what, shown):
    kept, result = sort(tmp_path, [example(picture(1), type(label)(1)), example(picture(2), label)])
    if what == "text":
        kept, result = sort(tmp_path, [example(picture(1), b"1"), example(picture(2), label)])
    (rejection,) = result.first.values()
    assert rejection.reason == f"`label` is {what} that is no class index such as 0, 1, 2"
    assert (rejection.record, rejection.detail) == (1, shown)
    assert [one["label"] for one in kept] == [[1]]


def test_a_split_by_the_image_is_the_same_under_any_name(tmp_path, run):
    write(tmp_path / "ours/a.tfrecord", [example(picture(i), i) for i in range(60)])
    write(tmp_path / "theirs/a.tfrecord", [imported(picture(i), float(i)) for i in range(60)])
    ours, theirs = run(tmp_path / "ours"), run(tmp_path / "theirs", **SLIM)
    for split in ("train", "eval"):
        assert list(map(features, read(ours, split))) == list(map(features, read(theirs, split)))


def test_wrong_names_are_answered_with_the_right_ones(tmp_path, run):
    records = [
        imported(picture(i), i, **{"image/format": b"PNG", "image/height": 8, "box": [0.5] * 4})
        for i in range(20)
    ]
    write(tmp_path / "data/train/a.tfrecord", records)
    write(tmp_path / "data/eval/a.tfrecord", records)
    there = (
        "there are `box` (float × 4), `image/class/label` (int64), `image/encoded` (bytes), "
        "`image/format` (bytes), `image/height` (int64)"
    )
    with pytest.raises(PipelineError) as error:
        run(tmp_path / "data")
    assert (
        f"40 × no feature `image`; the first is record 0 of {tmp_path}/data/eval/a.tfrecord (no "
        f"feature `image`: {there}; set data.features.image=image/encoded and "
        "data.features.label=image/class/label)"
    ) in str(error.value)
    with pytest.raises(PipelineError) as error:
        run(tmp_path / "data", image="image/encoded", label="class")
    assert f"has a feature `class`, which data.features.label names; {there} in" in str(error.value)
    assert_nothing_left(run)
    assert len(read(run(tmp_path / "data", **SLIM), "train")) == 20


def test_an_image_that_stops_the_run_is_named_by_its_file(tmp_path, run, caplog):
    whole = picture(901, "JPEG", side=32)
    cut = whole[: len(whole) // 2]
    named = [example(picture(i), 1, source=b"cats/%03d.jpg" % i) for i in range(20)]
    named[7] = example(cut, 1, source=b"cats/007.jpg")
    named[9] = example(cut, 1, source=b"caf\xe9/009.jpg")
    write(tmp_path / "data/train/a.tfrecord", named)
    write(tmp_path / "data/eval/a.tfrecord", [*good(10), example(cut, 1)])
    train, held_out = (tmp_path / f"data/{split}/a.tfrecord" for split in ("train", "eval"))
    with pytest.raises(PipelineError) as error:
        run(tmp_path / "data", max_rejected_fraction=0.05)
    assert (
        f"3 × truncated or corrupt JPEG; the first is record 10 of {held_out} (truncated or "
        f"corrupt JPEG); most in {train}: 2 of 20"
    ) in str(error.value)
    assert str(run.rejected) in str(error.value)
    reason = {"reason": "truncated or corrupt JPEG"}
    lines = [
        {"file": str(train), "record": 7, **reason, "source": "cats/007.jpg"},
        {"file": str(train), "record": 9, **reason, "source": "caf\\xe9/009.jpg"},
        {"file": str(held_out), "record": 10, **reason},
    ]
    assert_nothing_left(run)
    assert list(map(json.loads, run.rejected.read_text().splitlines())) == lines
    # Where nothing but the log survives.
    assert all(json.dumps(line, ensure_ascii=False) in caplog.text for line in lines)

    write(held_out, good(10))
    with pytest.raises(PipelineError) as error:
        run(tmp_path / "data", max_rejected_fraction=0.05)
    assert f"the first is record 7 of {train}, from cats/007.jpg (truncated" in str(error.value)

    # What is passed on has no name, so that neither statistics nor a schema have to know it.
    write(train, [each for i, each in enumerate(named) if i not in (7, 9)])
    kept = read(run(tmp_path / "data"), "train")
    assert [set(features(record)) for record in kept] == [{"image", "label"}] * 18
    assert not run.rejected.exists()


def test_a_list_that_cannot_be_kept_hides_nothing(tmp_path, run):
    run.root.mkdir()
    (run.root / "logs").write_text("a file, not a folder")
    write(tmp_path / "data/a.tfrecord", [*good(10), b""])
    with pytest.raises(PipelineError, match=r"1 × empty record; .*; all are in the log; repair"):
        run(tmp_path / "data")
