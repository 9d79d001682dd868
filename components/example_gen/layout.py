"""How image TFRecords may lie in a directory, and what that means for ExampleGen."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tfx.proto import example_gen_pb2

from components import features
from components.errors import PipelineError
from components.example_gen import input_files, spans
from components.example_gen.file_names import KINDS, TEST, TRAIN, VALIDATION, split_word

_ANY = "*"  # of these, `input_files.find` takes the TFRecord files
_SPAN_FOLDER = re.compile(r"span-[0-9]+")
EXPECTED = (
    "expected train/*.tfrecord[.gz] and eval/*.tfrecord[.gz], or files that are named after their "
    "split (a-train.tfrecord-00000-of-00001), or *.tfrecord[.gz] directly in it (split 90/10), or "
    "any of them in folders span-1, span-2, …"
)


class Layout(NamedTuple):
    """What `ImageExampleGen` reads: the first three are its arguments of the same names.

    `left_out` says which split is not read and why; empty where all are.
    """

    input_base: str
    input_config: example_gen_pb2.Input
    output_config: example_gen_pb2.Output
    left_out: str = ""


class _Contents(NamedTuple):
    """Names of TFRecord files, by the word for their split: `train`, `val`, …

    `direct` lie in the folder and have the word in their names, "" where they have none;
    `folders` lie in a folder of that name.
    """

    direct: dict[str, list[str]]
    folders: dict[str, list[str]]


class _Words(NamedTuple):
    """What a data set calls its splits; empty where there is none."""

    train: str
    eval: str
    left_out: str


def input_config_for(data_path: str) -> Layout:
    """Looks at a directory of image TFRecords and says how to read it.

    The split `train` is what is called so. `eval` is what is called eval, val or validation;
    where nothing is, it is test. A test split beside a validation split is not read.

    Args:
        data_path: a directory, taken literally, that holds folders of TFRecords that are named
            after splits, or TFRecords whose own names say the split, or TFRecords without any,
            or folders `span-<number>` of one of these, of which the highest number is read. Or a
            pattern with TFX's placeholders below a directory, such as `data/day-{SPAN}` or
            `data/{YYYY}-{MM}-{DD}/v{VERSION}`.

    Raises:
        PipelineError: when no such files are there, or it is not clear which are of which split.
    """
    base, pattern = spans.split_at_placeholder(_text(str(data_path)))
    if not os.path.isdir(base):
        raise PipelineError(f"data: no directory {base}; {EXPECTED}")
    if not pattern and any(map(_SPAN_FOLDER.fullmatch, os.listdir(base))):
        if not _holds_records(base):
            pattern = "span-{SPAN}"
        elif spans.newest(base, "span-{SPAN}", _holds_records):
            raise PipelineError(
                f"data: {base} holds TFRecords both in folders span-1, span-2, … and beside them; "
                "keep one of them"
            )
    newest = spans.newest(base, pattern, _holds_records)
    if newest is None:
        where = os.path.join(base, pattern) if pattern else base
        raise PipelineError(f"data: no image TFRecords in {where}; {_elsewhere(base) or EXPECTED}")
    return _arranged(base, pattern, os.path.join(base, newest.path) if newest.path else base)


def undecided(input_base: str) -> Layout:
    """Stands in where the data cannot be looked at yet; `input_config_for` replaces it there."""
    splits = [example_gen_pb2.Input.Split(name="undecided", pattern="*")]
    return Layout(input_base, example_gen_pb2.Input(splits=splits), example_gen_pb2.Output())


def nine_to_one() -> example_gen_pb2.Output:
    """90 % train, 10 % eval by the image's hash: a copy never lands on the other side."""
    split = example_gen_pb2.SplitConfig.Split
    return example_gen_pb2.Output(
        split_config=example_gen_pb2.SplitConfig(
            splits=[split(name="train", hash_buckets=9), split(name="eval", hash_buckets=1)],
            partition_feature_name=features.IMAGE,
        )
    )


def _arranged(base: str, pattern: str, folder: str) -> Layout:
    """How the files of one folder, which `pattern` may stand for, are to be read."""
    direct, folders = _contents(folder)
    if direct and folders:
        raise PipelineError(
            f"data: {folder} holds TFRecords both directly and in "
            f"{' or '.join(f'{word}/' for word in folders)}; keep one of them"
        )
    if folders:
        return _by_folders(base, pattern, folder, folders)
    return _by_names(base, pattern, folder, direct)


def _by_folders(base: str, pattern: str, folder: str, found: dict[str, list[str]]) -> Layout:
    words = _words(folder, found)
    if not (words.train and words.eval):
        there, missing = (words.train, "eval") if words.train else (words.eval, "train")
        raise PipelineError(
            f"data: {folder} has {there}/*.tfrecord[.gz] but no {missing}/*.tfrecord[.gz]; add "
            "them, or put all files directly in the directory to have them split 90/10"
        )
    for word in (words.train, words.eval):
        for name in found[word]:
            says = split_word(name)
            if says and (KINDS[says] == TRAIN) != (KINDS[word] == TRAIN):
                raise PipelineError(
                    f"data: {os.path.join(folder, word, name)} is called {says} but lies in "
                    f"{word}/; move or rename it"
                )
    return _two_splits(base, pattern, words, found, lambda word: os.path.join(word, _ANY))


def _by_names(base: str, pattern: str, folder: str, found: dict[str, list[str]]) -> Layout:
    unnamed = found.get("", [])
    if unnamed and len(found) > 1:
        names = next(names for word, names in found.items() if word)
        raise PipelineError(
            f"data: in {folder}, {names[0]} says of which split it is, {unnamed[0]} does not; "
            "rename the files, or put them in train/ and eval/"
        )
    words = _Words("", "", "") if unnamed else _words(folder, found)
    if words.eval and not words.train:
        raise PipelineError(
            f"data: {folder} has files of the split {words.eval} ({found[words.eval][0]}) but "
            "none of train; add them, or rename the files to have them split 90/10"
        )
    if words.eval:
        return _two_splits(base, pattern, words, found, input_files.named)
    splits = [example_gen_pb2.Input.Split(name="all", pattern=os.path.join(pattern, _ANY))]
    return Layout(base, example_gen_pb2.Input(splits=splits), nine_to_one())


def _two_splits(
    base: str,
    pattern: str,
    words: _Words,
    found: dict[str, list[str]],
    files: Callable[[str], str],
) -> Layout:
    splits = [
        example_gen_pb2.Input.Split(name=name, pattern=os.path.join(pattern, files(word)))
        for name, word in (("train", words.train), ("eval", words.eval))
    ]
    left_out = ""
    if words.left_out:
        count = len(found[words.left_out])
        left_out = (
            f"the split {words.left_out} ({count:,} file{'s' if count > 1 else ''}) is not read: "
            f"eval is {words.eval}"
        )
    return Layout(base, example_gen_pb2.Input(splits=splits), example_gen_pb2.Output(), left_out)


def _words(folder: str, found: Iterable[str]) -> _Words:
    """Which word of those found stands for which split.

    Raises:
        PipelineError: two words mean the same.
    """
    by_kind: dict[str, str] = {}
    for word in found:
        other = by_kind.setdefault(KINDS[word], word)
        if other != word:
            raise PipelineError(
                f"data: {folder} has both {other} and {word}, which mean the same split; give "
                "them one name"
            )
    validation, test = by_kind.get(VALIDATION, ""), by_kind.get(TEST, "")
    return _Words(by_kind.get(TRAIN, ""), validation or test, test if validation else "")


def _contents(folder: str) -> _Contents:
    direct: dict[str, list[str]] = {}
    for name in input_files.tfrecords(folder):
        direct.setdefault(split_word(name), []).append(name)
    folders = {word: input_files.tfrecords(os.path.join(folder, word)) for word in KINDS}
    return _Contents(direct, {word: names for word, names in folders.items() if names})


def _holds_records(folder: str) -> bool:
    return any(_contents(folder))


def _elsewhere(base: str) -> str:
    """Names a folder below that would do, as the versions are that TensorFlow Datasets writes."""
    for folder, below, _ in os.walk(base, followlinks=True):
        if folder != base and _holds_records(folder):
            return f"there are some in {folder}: name that directory"
        below.sort()
        if os.path.relpath(folder, base).count(os.sep) == 1:
            below.clear()
    return ""


def _text(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise PipelineError(f"data {path!a}: the name is not UTF-8; rename the folder") from None
    return path
