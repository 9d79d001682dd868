"""Checks the records of one TFRecord file and sorts them into splits."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

import numpy as np
import tensorflow as tf
from tfx.dsl.io import fileio

from components import durable_files, features
from components.contents import FileContents
from components.example_gen import parsing, record_file
from components.example_gen.check import UNUSABLE, Check
from components.example_gen.rejection import Rejection

_BATCH = 64  # records in memory at a time, still encoded; as many again are read ahead
_FILE_BYTES = 2**28  # a big input file becomes several, so that later steps run parallel
# Labels of a split that are remembered: numbers that are no classes may be as many as records.
_MOST_CLASSES = 10_000


@dataclass(frozen=True)
class Split:
    """An output split and its share of the hash buckets."""

    name: str
    buckets: int = 1


@dataclass(frozen=True)
class InputFile:
    """A TFRecord file, its number among all, and the splits that its records go to."""

    index: int
    path: str
    splits: tuple[Split, ...]
    # Feature whose value is hashed into a bucket; the whole record without one.
    partition_feature: str = ""


@dataclass
class FileResult:
    """What became of a file's records."""

    path: str
    records: int = 0
    labelled: int = 0  # of those that are written, with a label or NO_LABEL in its place
    # Split -> records; of audio the windows of its recordings.
    written: Counter[str] = field(default_factory=Counter)
    # Split -> name of a file -> what is in it.
    files: dict[str, dict[str, FileContents]] = field(default_factory=dict)
    classes: dict[str, list[int]] = field(default_factory=dict)  # split -> the first labels, sorted
    rejected: Counter[str] = field(default_factory=Counter)  # reason -> records
    first: dict[str, Rejection] = field(default_factory=dict)  # reason -> the first of them
    features: str = ""  # of the first record, as `parsing.describe` tells them
    error: str = ""  # why the file could not be read to its end

    def to_json(self) -> str:
        first = {reason: asdict(rejection) for reason, rejection in self.first.items()}
        files = {
            split: {name: file.model_dump() for name, file in held.items()}
            for split, held in self.files.items()
        }
        return json.dumps({**vars(self), "first": first, "files": files}, sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> FileResult:
        values: dict[str, Any] = json.loads(line)
        values["written"] = Counter(values["written"])
        values["files"] = {
            split: {name: FileContents(**file) for name, file in held.items()}
            for split, held in values["files"].items()
        }
        values["rejected"] = Counter(values["rejected"])
        values["first"] = {reason: Rejection(**one) for reason, one in values["first"].items()}
        return cls(**values)


def sort_records(
    source: InputFile,
    check: Check,
    split_uri: Callable[[str], str],
    rejected_uri: str,
    scratch_uri: str,
    records_per_file: int,
) -> FileResult:
    """Writes the usable records of a file to its splits and the reasons for the others.

    Files are written in `scratch_uri` and moved when whole, so that a worker that is killed and
    tried again leaves neither halves nor doubles. Memory is bounded by twice `_BATCH` encoded
    records, and what the check decodes of them.

    Args:
        source: the file.
        check: of the records, and what is written of those that can be used.
        split_uri: split name -> directory of its files.
        rejected_uri: directory of the JSON lines, a `Rejection` for each rejected record.
        scratch_uri: directory for unfinished files, on the same file system.
        records_per_file: more of them, or of `_FILE_BYTES`, become a second file.
    """
    result = FileResult(source.path)
    classes: dict[str, set[int]] = {split.name: set() for split in source.splits}
    split_names = [split.name for split in source.splits for _ in range(split.buckets)]
    files = {
        split.name: _Files(split_uri(split.name), source.index, scratch_uri, records_per_file)
        for split in source.splits
    }
    rejected = _Rejected(rejected_uri, source.index, scratch_uri)
    try:
        for batch in record_file.batches(source.path, _BATCH):
            records = batch.numpy()
            result.features = result.features or parsing.describe(records[0])
            found = check.sort(batch, len(split_names), bool(source.partition_feature))
            usable = found.buckets != UNUSABLE
            result.labelled += int(np.count_nonzero(found.has_label & usable))
            columns = (found.buckets.tolist(), found.labels.tolist(), found.written)
            for record, bucket, label, written in zip(records, *columns, strict=True):
                if bucket == UNUSABLE:
                    rejected.write(_rejection(record, check, result))
                else:
                    name = split_names[bucket]
                    result.written[name] += len(written)
                    if label != features.NO_LABEL and len(classes[name]) < _MOST_CLASSES:
                        classes[name].add(label)
                    for each in written:
                        files[name].write(each)
                result.records += 1
    except record_file.DamagedFile as error:
        result.error = str(error)
    for name, writer in files.items():
        writer.close()
        result.files[name] = writer.written
    rejected.close()
    result.classes = {name: sorted(found) for name, found in classes.items()}
    return result


def _rejection(record: bytes, check: Check, result: FileResult) -> Rejection:
    """Why the record at which a file is cannot be used; counted in `result`."""
    reason, detail = parsing.reason_unusable(record, check.names, check.undecodable)
    source = parsing.source_of(record)
    rejection = Rejection(result.path, result.records, reason, detail, source)
    result.rejected[reason] += 1
    result.first.setdefault(reason, rejection)
    return rejection


class _Files:
    """Files of one split that come from one input file; images are compressed already."""

    def __init__(
        self, directory: str, file_index: int, scratch_uri: str, records_per_file: int
    ) -> None:
        self._directory = directory
        self._file_index = file_index
        self._scratch_uri = scratch_uri
        self._records_per_file = records_per_file
        self._writer: tf.io.TFRecordWriter | None = None
        self._path = ""
        self._contents = FileContents()
        # Name -> what is in it, of those that are complete.
        self.written: dict[str, FileContents] = {}

    def write(self, record: bytes) -> None:
        if self._writer is None:
            self._path = durable_files.attempt(self._scratch_uri)
            self._writer = tf.io.TFRecordWriter(self._path)
            self._contents = FileContents()
        self._writer.write(record)
        self._contents.add(record)
        if (
            self._contents.total_bytes >= _FILE_BYTES
            or self._contents.records >= self._records_per_file
        ):
            self.close()

    def close(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        name = f"records-{self._file_index:05d}-{len(self.written):05d}.tfrecord"
        fileio.rename(self._path, os.path.join(self._directory, name), overwrite=True)
        self.written[name] = self._contents
        self._writer = None


class _Rejected:
    """The list of the rejected records of one input file, if there are any."""

    def __init__(self, directory: str, file_index: int, scratch_uri: str) -> None:
        self._final = os.path.join(directory, f"records-{file_index:05d}.jsonl")
        self._path = durable_files.attempt(scratch_uri)
        self._file: TextIO | None = None

    def write(self, rejection: Rejection) -> None:
        if self._file is None:
            self._file = fileio.open(self._path, "w")
        self._file.write(rejection.to_json() + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            fileio.rename(self._path, self._final, overwrite=True)
