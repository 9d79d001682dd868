"""Checks the records of one TFRecord file and sorts them into splits."""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, TextIO

import numpy as np
import tensorflow as tf
from tfx.dsl.io import fileio

from components import durable_files, features
from components.contents import FileContents
from components.example_gen import parsing, record_file
from components.example_gen.config import FeatureNames
from components.example_gen.halving import by_halves
from components.example_gen.rejection import Rejection
from models import images

_BATCH = 64  # records in memory at a time, still encoded; as many again are read ahead
_DECODERS = min(os.cpu_count() or 1, 16)  # images decoded at a time
_FILE_BYTES = 2**28  # a big input file becomes several, so that later steps run parallel
_UNUSABLE = -1
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
    written: Counter[str] = field(default_factory=Counter)  # split -> records
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
    names: FeatureNames,
    split_uri: Callable[[str], str],
    rejected_uri: str,
    scratch_uri: str,
    records_per_file: int,
) -> FileResult:
    """Writes the usable records of a file to its splits and the reasons for the others.

    Files are written in `scratch_uri` and moved when whole, so that a worker that is killed and
    tried again leaves neither halves nor doubles. Memory is bounded by twice `_BATCH` encoded
    records and `_DECODERS` decoded ones.

    Args:
        source: the file.
        names: of the features in it; what is written has our own (`parsing.canonical`).
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
            found = _sort(batch, len(split_names), source.partition_feature, names)
            result.labelled += int(np.count_nonzero(found.has_label & (found.buckets != _UNUSABLE)))
            columns = (found.buckets, found.labels, found.canonical)
            for record, bucket, label, is_canonical in zip(
                records, *(column.tolist() for column in columns), strict=True
            ):
                if bucket == _UNUSABLE:
                    rejected.write(_rejection(record, names, result))
                else:
                    if not is_canonical or parsing.has_source(record):
                        record = parsing.canonical(record, names, label)
                    name = split_names[bucket]
                    result.written[name] += 1
                    if label != features.NO_LABEL and len(classes[name]) < _MOST_CLASSES:
                        classes[name].add(label)
                    files[name].write(record)
                result.records += 1
    except record_file.DamagedFile as error:
        result.error = str(error)
    for name, writer in files.items():
        writer.close()
        result.files[name] = writer.written
    rejected.close()
    result.classes = {name: sorted(found) for name, found in classes.items()}
    return result


def _rejection(record: bytes, names: FeatureNames, result: FileResult) -> Rejection:
    """Why the record at which a file is cannot be used; counted in `result`."""
    reason, detail = parsing.reason_unusable(record, names)
    source = parsing.source_of(record)
    rejection = Rejection(result.path, result.records, reason, detail, source)
    result.rejected[reason] += 1
    result.first.setdefault(reason, rejection)
    return rejection


class _Sorted(NamedTuple):
    """A batch of N records, as arrays."""

    buckets: np.ndarray  # int64 [N], _UNUSABLE for a record that cannot be used
    labels: np.ndarray  # int64 [N]
    has_label: np.ndarray  # bool [N]
    canonical: np.ndarray  # bool [N], whether the record may be what is to be written


def _sort(
    records: tf.Tensor, num_buckets: int, partition_feature: str, names: FeatureNames
) -> _Sorted:
    """Finds the place of records, string [N], of which some may be unusable."""

    def assigned(part: tf.Tensor) -> _Sorted:
        # Those of one file have labels of one type, as a rule.
        label_type = parsing.label_type(part[0].numpy(), names)
        assign = _assignment(num_buckets, partition_feature, names, label_type)
        canonical = np.full(len(part), parsing.is_canonical(names, label_type))
        buckets, labels, has_label = (tensor.numpy() for tensor in assign(part))
        return _Sorted(buckets, labels, has_label, canonical)

    nothing = np.array([False])
    unusable = _Sorted(np.array([_UNUSABLE]), np.array([0]), nothing, nothing)
    parts = [part.made or unusable for part in by_halves(records, assigned, parsing.REFUSALS)]
    return _Sorted._make(map(np.concatenate, zip(*parts, strict=True)))


@functools.cache  # traced once per process, not once per file
def _assignment(
    num_buckets: int, partition_feature: str, names: FeatureNames, label_type: tf.DType
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """A function: records, string [N] -> bucket int64 [N], label int64 [N], has label bool [N]."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def assign(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        parsed = parsing.parse(records, names, label_type)
        usable = tf.boolean_mask(parsed.images, parsed.usable)
        with tf.control_dependencies([images.check_images(usable, _DECODERS)]):
            key = parsed.images if partition_feature else records
            buckets = tf.strings.to_hash_bucket_fast(key, num_buckets)
        unusable = tf.constant(_UNUSABLE, tf.int64)
        return tf.where(parsed.usable, buckets, unusable), parsed.labels, parsed.has_label

    return assign


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
