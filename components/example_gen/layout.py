"""How image TFRecords may lie in a directory, and what that means for ExampleGen."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2

from components import features
from components.errors import PipelineError

# Matches more than it should (braces are unknown to glob); `is_tfrecord` decides.
_FILES = "*tfrecord*"
_TFRECORD = re.compile(r"[^.].*tfrecords?(-\d+-of-\d+)?(\.gz)?")
_SPAN_FOLDER = re.compile(r"span-\d+")
EXPECTED = (
    "expected train/*.tfrecord[.gz] and eval/*.tfrecord[.gz], or *.tfrecord[.gz] directly in it "
    "(split 90/10), or either of them in folders span-1, span-2, …"
)


class Layout(NamedTuple):
    """What `ImageExampleGen` reads: arguments of the same names."""

    input_base: str
    input_config: example_gen_pb2.Input
    output_config: example_gen_pb2.Output


def input_config_for(data_path: str) -> Layout:
    """Looks at a directory of image TFRecords and says how to read it.

    Args:
        data_path: a directory, local or remote, that holds `train/` and `eval/` with TFRecords,
            or TFRecords of its own, or folders `span-<number>` of either kind, of which the
            highest number is read. Or a pattern with TFX's placeholders below a directory, such
            as `data/day-{SPAN}` or `data/{YYYY}-{MM}-{DD}/v{VERSION}`.

    Raises:
        PipelineError: when no such files are there, or they are there in two ways.
    """
    base, pattern = _split_at_placeholder(str(data_path))
    if not fileio.isdir(base):
        raise PipelineError(f"data: no directory {base}; {EXPECTED}")
    if not pattern and not _files(base, "") and not _has_split(base, ""):
        spans = [name for name in fileio.listdir(base) if _SPAN_FOLDER.fullmatch(name.rstrip("/"))]
        pattern = "span-{SPAN}" if spans else ""
    seen = re.sub(r"\{.*?\}", "*", pattern)
    flat, train, evaluation = (
        bool(_files(base, os.path.join(seen, folder))) for folder in ("", "train", "eval")
    )
    where = os.path.join(base, pattern) if pattern else base
    if flat and (train or evaluation):
        raise PipelineError(
            f"data: {where} holds TFRecords both directly and in train/ or eval/; keep one of them"
        )
    if train != evaluation:
        there, missing = ("train", "eval") if train else ("eval", "train")
        raise PipelineError(
            f"data: {where} has {there}/*.tfrecord[.gz] but no {missing}/*.tfrecord[.gz]; add "
            "them, or put all files directly in the directory to have them split 90/10"
        )
    if train:
        return split_layout(base, pattern)
    if flat:
        return flat_layout(base, pattern)
    raise PipelineError(f"data: no image TFRecords in {where}; {EXPECTED}")


def undecided(input_base: str) -> Layout:
    """Stands in where the data cannot be looked at yet; `input_config_for` replaces it there."""
    splits = [example_gen_pb2.Input.Split(name="undecided", pattern="*")]
    return Layout(input_base, example_gen_pb2.Input(splits=splits), example_gen_pb2.Output())


def split_layout(input_base: str, folder: str = "") -> Layout:
    """`train/` and `eval/` below `folder`, which may hold placeholders; looks at nothing."""
    splits = [
        example_gen_pb2.Input.Split(name=name, pattern=os.path.join(folder, name, _FILES))
        for name in ("train", "eval")
    ]
    return Layout(input_base, example_gen_pb2.Input(splits=splits), example_gen_pb2.Output())


def flat_layout(input_base: str, folder: str = "") -> Layout:
    """One set of files, split 90/10 by the image's hash; looks at nothing."""
    pattern = os.path.join(folder, _FILES)
    splits = [example_gen_pb2.Input.Split(name="all", pattern=pattern)]
    return Layout(input_base, example_gen_pb2.Input(splits=splits), nine_to_one())


def nine_to_one() -> example_gen_pb2.Output:
    """90 % train, 10 % eval by the image's hash: a copy never lands on the other side."""
    split = example_gen_pb2.SplitConfig.Split
    return example_gen_pb2.Output(
        split_config=example_gen_pb2.SplitConfig(
            splits=[split(name="train", hash_buckets=9), split(name="eval", hash_buckets=1)],
            partition_feature_name=features.IMAGE,
        )
    )


def is_tfrecord(path: str) -> bool:
    """Whether the name is one of a finished TFRecord file, not of a temporary one."""
    return bool(_TFRECORD.fullmatch(os.path.basename(path)))


def _split_at_placeholder(path: str) -> tuple[str, str]:
    """`a/b/day-{SPAN}/c` -> (`a/b`, `day-{SPAN}/c`); the second is empty without placeholders."""
    if "{" not in path:
        return path, ""
    base = os.path.dirname(path[: path.index("{")])
    return base or ".", os.path.relpath(path, base or ".")


def _files(base: str, folder: str) -> list[str]:
    return [path for path in fileio.glob(os.path.join(base, folder, _FILES)) if is_tfrecord(path)]


def _has_split(base: str, folder: str) -> bool:
    return any(_files(base, os.path.join(folder, name)) for name in ("train", "eval"))
