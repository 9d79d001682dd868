"""The files that ImageExampleGen reads: found, and fingerprinted, by this code wherever it runs.

A run asks before it starts, since its key says what its results depend on; TFX's driver asks when
it decides between the cache and the executor; the executor asks for the files to read.
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from tfx.proto import example_gen_pb2, range_config_pb2

from components.errors import PipelineError
from components.example_gen import file_names, spans

# Last part of a split's pattern: the TFRecord files whose names have the word.
_NAMED = re.compile(r"\{SPLIT:([a-z]+)\}")


class SplitFiles(NamedTuple):
    """A split, its pattern without placeholders, and the paths that it stands for, sorted."""

    name: str
    pattern: str
    paths: tuple[str, ...]


class InputFiles(NamedTuple):
    """What is read: `span` is 0 and `version` None where the patterns have no placeholder.

    `fingerprint` differs when any file is another one: by its name, its place with links
    followed, its size in bytes or its time of change in nanoseconds.
    """

    span: int
    version: int | None
    splits: tuple[SplitFiles, ...]
    fingerprint: str


def named(word: str) -> str:
    """Pattern of the TFRecord files whose names have a word (`file_names.split_word`)."""
    return f"{{SPLIT:{word}}}"


def find(
    input_base: str,
    splits: Iterable[example_gen_pb2.Input.Split],
    range_config: range_config_pb2.RangeConfig | None = None,
) -> InputFiles:
    """Resolves the patterns of splits.

    Args:
        input_base: folder of the data; taken literally.
        splits: each with a pattern below it. Its folders are literal but for TFX's placeholders;
            its last part is a glob, or `named(word)`. Of what matches, TFRecord files are read.
        range_config: which span; the newest that has such files by default.

    Raises:
        PipelineError: a split has no files, or splits are of different spans.
    """
    wanted = None
    if range_config is not None and range_config.HasField("static_range"):
        wanted = range_config.static_range.start_span_number
    chosen: spans.Folder | None = None
    found: list[SplitFiles] = []
    for split in splits:
        folder_pattern, last = os.path.split(split.pattern)
        folder = spans.newest(
            input_base, folder_pattern, functools.partial(_has_files, last), wanted
        )
        if folder is None:
            where = os.path.join(input_base, split.pattern)
            raise PipelineError(f"ImageExampleGen: no TFRecord files match {where}")
        if chosen is not None and folder.age != chosen.age:
            raise PipelineError(
                f"ImageExampleGen: the newest files of {found[0].name} are in {chosen.path}, those "
                f"of {split.name} in {folder.path}; give every split its files"
            )
        chosen = chosen or folder
        names = _names(os.path.join(input_base, folder.path), last)
        pattern = os.path.join(folder.path, last)
        paths = (os.path.join(input_base, folder.path, name) for name in names)
        found.append(SplitFiles(split.name, pattern, tuple(paths)))
    if chosen is None:
        raise PipelineError(f"ImageExampleGen: no split of {input_base} to read")
    lines = (_fingerprint(input_base, split) for split in found)
    return InputFiles(chosen.span, chosen.version, tuple(found), "\n".join(lines))


def tfrecords(folder: str) -> list[str]:
    """Names of the TFRecord files directly in a folder, sorted; none where there is no folder.

    Raises:
        PipelineError: a name is not UTF-8, which TensorFlow cannot open.
    """
    if not os.path.isdir(folder):
        return []
    names = sorted(filter(file_names.is_tfrecord, os.listdir(folder)))
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise PipelineError(
                f"data: the name of {os.path.join(folder, name)!a} is not UTF-8; rename the file"
            ) from None
    return names


def _has_files(last: str, folder: str) -> bool:
    return bool(_names(folder, last))


def _names(folder: str, last: str) -> list[str]:
    word = _NAMED.fullmatch(last)
    if word:
        return [name for name in tfrecords(folder) if file_names.split_word(name) == word[1]]
    return [name for name in tfrecords(folder) if fnmatch.fnmatchcase(name, last)]


def _fingerprint(input_base: str, split: SplitFiles) -> str:
    """One line: what people look for, and a hash of all."""
    total, digest = 0, hashlib.sha256()
    for path in split.paths:
        facts, target = os.stat(path), os.path.realpath(path)
        total += facts.st_size
        # Where the data has moved as a whole it is the same; a link elsewhere is another file.
        linked = target if target != os.path.abspath(path) else ""
        place = os.path.relpath(path, input_base)
        line = json.dumps([place, linked, facts.st_size, facts.st_mtime_ns])
        digest.update(line.encode() + b"\n")
    return (
        f"split:{split.name},num_files:{len(split.paths)},total_bytes:{total},"
        f"sha256:{digest.hexdigest()}"
    )
