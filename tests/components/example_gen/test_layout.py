"""Which files ImageExampleGen reads, of which split and of which span, whatever they are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tfx.components.example_gen import input_processor
from tfx.proto import example_gen_pb2, range_config_pb2

from components.errors import PipelineError
from components.example_gen import file_names, input_files, layout, spans
from components.example_gen.driver import InputProcessor


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def read(data: Path | str) -> dict[str, list[str]]:
    """Split -> names of its files."""
    found = layout.input_config_for(str(data))
    splits = input_files.find(found.input_base, found.input_config.splits).splits
    return {
        each.name: [os.path.relpath(path, found.input_base) for path in each.paths]
        for each in splits
    }


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("a.tfrecord", ""),
        ("a.tfrecords.gz", ""),
        ("my-train.tfrecord-00000-of-00001", "train"),
        ("my-test.tfrecord-00000-of-00001.gz", "test"),
        ("coco_val2017.record-00003-of-00010", "val"),
        ("train-00000-of-01024", "train"),
        ("validation-00000-of-00128", "validation"),
        ("train00-2071.tfrec", "train"),
        ("00-192x192-798.tfrec", ""),
        ("Flowers_EVAL.tfrecord", "eval"),
        ("constrained-contest.tfrecord", ""),
        ("trainval.tfrecord", ""),
        ("test_photos-train.tfrecord-00000-of-00002", "train"),
        ("images-00000-of-00010.tfrecord.gz", ""),
        ("a-test-00000-of-00010.tfrecord", "test"),
    ],
)
def test_names_of_tfrecord_files(name, word):
    assert file_names.is_tfrecord(f"train/{name}")
    assert file_names.split_word(f"train/{name}") == word


@pytest.mark.parametrize(
    "name",
    [
        "a.tfrecord.tmp",
        ".a.tfrecord",
        "a.tfrecord-00000-of-00001.index",
        "model.data-00000-of-00001",
        "my-train.array_record-00000-of-00001",
        "dataset_info.json",
        "tfrecord",
    ],
)
def test_names_of_other_files(name):
    assert not file_names.is_tfrecord(name)


def test_the_splits_of_tensorflow_datasets_are_kept(tmp_path):
    train, test = (f"my-{split}.tfrecord-00000-of-00001" for split in ("train", "test"))
    data = touch(tmp_path / "my/1.0.0", train, test, "features.json", "dataset_info.json")
    assert read(data) == {"train": [train], "eval": [test]}
    with pytest.raises(PipelineError, match=f"no image TFRecords in {tmp_path}/my; .* {data}: na"):
        read(tmp_path / "my")


def test_a_test_split_beside_a_validation_split_is_left_out_and_named(tmp_path):
    names = [f"{split}-00000-of-00001" for split in ("train", "validation", "test")]
    data = touch(tmp_path / "names", *names)
    assert read(data) == {"train": names[:1], "eval": names[1:2]}
    said = "the split test (1 file) is not read: eval is validation"
    assert layout.input_config_for(str(data)).left_out == said
    data = touch(tmp_path / "folders", *(f"{split}/a.tfrec" for split in ("train", "val", "test")))
    assert read(data) == {"train": ["train/a.tfrec"], "eval": ["val/a.tfrec"]}
    assert layout.input_config_for(str(data)).left_out.endswith("is not read: eval is val")
    touch(tmp_path / "two", "train.tfrecord", "val.tfrecord")
    assert layout.input_config_for(str(tmp_path / "two")).left_out == ""


@pytest.mark.parametrize("names", [["a.tfrecord", "b.record"], ["train-0.tfrecord"]])
def test_without_held_out_files_the_set_is_split(tmp_path, names):
    found = layout.input_config_for(str(touch(tmp_path, *names)))
    assert read(tmp_path) == {"all": names}
    split = found.output_config.split_config
    assert [(each.name, each.hash_buckets) for each in split.splits] == [("train", 9), ("eval", 1)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train.tfrecord", "more.tfrecord"], "train.tfrecord says of .* more.tfrecord does not"),
        (["my-test.tfrecord"], r"files of the split test \(my-test.tfrecord\) but none of train"),
        (["train/a.tfrecord", "test/a.tfrecord", "b.tfrecord"], "directly and in train/ or test/"),
        (["train.tfrec", "val.tfrec", "eval.tfrec"], "has both eval and val, which mean the same"),
        (["train/a.tfrec", "val/a.tfrec", "eval/a.tfrec"], "has both eval and val, which mean the"),
        (["train/my-test.tfrecord", "eval/a.tfrecord"], "my-test.tfrecord is called test but lies"),
        (["train/a.tfrecord", "eval/train.tfrecord"], "train.tfrecord is called train but lies in"),
        (["a.tfrecord", "span-1/b.tfrecord"], "both in folders span-1, span-2, … and beside them"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path, names, message):
    with pytest.raises(PipelineError, match=message):
        read(touch(tmp_path, *names))


def test_the_newest_span_with_files_says_how_it_is_laid_out(tmp_path):
    touch(tmp_path, "day-1/a.tfrecord", "day-2/train/a.tfrecord", "day-2/eval/b.tfrecord")
    touch(tmp_path, "day-3/notes.txt", "day-old/a.tfrecord")
    pattern = str(tmp_path / "day-{SPAN}")
    assert read(pattern) == {"train": ["day-2/train/a.tfrecord"], "eval": ["day-2/eval/b.tfrecord"]}
    touch(tmp_path, "day-4/train.tfrecord", "day-4/test.tfrecord")
    assert read(pattern) == {"train": ["day-4/train.tfrecord"], "eval": ["day-4/test.tfrecord"]}
    touch(tmp_path, "day-5/train/a.tfrecord")
    with pytest.raises(PipelineError, match=f"{tmp_path}/day-5 has train/.* but no eval/"):
        read(pattern)
    touch(tmp_path, "day-6/a.tfrecord", "day-06/a.tfrecord")
    with pytest.raises(PipelineError, match=r"day-0?6 and day-0?6 are the same span; keep one"):
        read(pattern)


@pytest.mark.parametrize(
    "name", ["a b", "[x]", "a*", "what?", "#1", "50%", "a:b", "it's", '"q"', "-x", "a{b}", "$(x)|^"]
)
def test_every_character_of_a_path_stands_for_itself(tmp_path, name):
    data = tmp_path / name
    touch(data / f"{name}-007", f"train/{name}.tfrecord", f"eval/{name}.tfrecord")
    touch(tmp_path / "x/x-007", "train/decoy.tfrecord", "eval/decoy.tfrecord")
    train, held_out = (f"{name}-007/{split}/{name}.tfrecord" for split in ("train", "eval"))
    assert read(f"{data}/{name}-{{SPAN}}") == {"train": [train], "eval": [held_out]}
    assert read(data / f"{name}-007")["train"] == [f"train/{name}.tfrecord"]


def test_names_that_tensorflow_cannot_open_are_refused(tmp_path):
    folder = os.fsencode(tmp_path / "data")
    os.makedirs(folder)
    Path(os.fsdecode(folder + b"/caf\xe9.tfrecord")).touch()
    with pytest.raises(PipelineError, match=r"caf\\udce9.tfrecord' is not UTF-8; rename the file"):
        read(tmp_path / "data")
    latin = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9t\xe9")
    os.makedirs(latin)
    with pytest.raises(PipelineError, match="the name is not UTF-8; rename the folder"):
        read(latin)


@pytest.mark.parametrize(
    "pattern",
    ["{SPAN}/{SPAN}", "{SPAN}-{YYYY}-{MM}-{DD}", "{YYYY}-{MM}", "v{VERSION}", "{VERSION}{VERSION}"],
)
def test_placeholders_that_do_not_go_together_are_refused(tmp_path, pattern):
    with pytest.raises(PipelineError, match=r"either \{SPAN\} or each of \{YYYY\}"):
        spans.split_at_placeholder(str(tmp_path / pattern))


def test_a_folder_that_names_no_date_is_refused(tmp_path):
    touch(tmp_path, "2026-02-28/a.tfrecord", "2026-02-30/a.tfrecord")
    with pytest.raises(PipelineError, match="the folder 2026-02-30 names no date"):
        read(tmp_path / "{YYYY}-{MM}-{DD}")


@pytest.mark.parametrize(
    ("pattern", "folders"),
    [
        ("day-{SPAN}", ["day-1", "day-2", "day-10"]),
        ("day-{SPAN:3}", ["day-002", "day-010"]),
        ("{SPAN}/v{VERSION}", ["1/v9", "2/v3", "2/v10"]),
        ("{SPAN}/v{VERSION:2}/x", ["1/v09/x", "2/v03/x", "2/v10/x", "3/v01"]),
        ("v{VERSION}/{SPAN}", ["v9/1", "v3/2", "v10/1"]),
        ("{YYYY}-{MM}-{DD}", ["2025-12-31", "2026-01-01"]),
        ("{YYYY}/{MM}/{DD}/{VERSION}", ["2026/09/30/1", "2026/10/01/4", "2026/10/01/5"]),
        ("a{YYYY}{MM}{DD}", ["a20260131", "a20260201"]),
    ],
)
@pytest.mark.parametrize("span", [None, 2, 20724])
def test_span_and_version_are_those_of_tfx(tmp_path, pattern, folders, span):
    """Where TFX can read the path at all, and finds the span."""
    touch(
        tmp_path,
        *(f"{folder}/{split}/a.tfrecord" for folder in folders for split in ("train", "eval")),
    )
    splits = [
        example_gen_pb2.Input.Split(name=name, pattern=f"{pattern}/{name}/*")
        for name in ("train", "eval")
    ]
    config = None
    if span is not None:
        config = range_config_pb2.RangeConfig()
        config.static_range.start_span_number = config.static_range.end_span_number = span
    theirs = input_processor.FileBasedInputProcessor(str(tmp_path), splits, config)
    ours = InputProcessor(str(tmp_path), splits, config)
    try:
        expected = theirs.resolve_span_and_version()
    except ValueError:
        with pytest.raises(PipelineError, match="no TFRecord files match"):
            ours.resolve_span_and_version()
        return
    assert ours.resolve_span_and_version() == expected
    for split in splits:
        assert ours.get_pattern_for_span_version(
            split.pattern, *expected
        ) == theirs.get_pattern_for_span_version(split.pattern, *expected)


def test_splits_of_different_spans_are_refused(tmp_path):
    touch(tmp_path, "day-1/train/a.tfrecord", "day-1/eval/a.tfrecord", "day-2/train/a.tfrecord")
    splits = [
        example_gen_pb2.Input.Split(name=name, pattern=f"day-{{SPAN}}/{name}/*")
        for name in ("train", "eval")
    ]
    with pytest.raises(PipelineError, match="of train are in day-2/train, those of eval in day-1/"):
        input_files.find(str(tmp_path), splits)
