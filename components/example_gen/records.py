"""Checks the records of one TFRecord file and sorts them into splits."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf
from tfx.dsl.io import fileio

from components import features
from models import images

_BATCH = 64  # records in memory at a time, still encoded
_DECODERS = min(os.cpu_count() or 1, 16)  # images decoded at a time
_SHARD_BYTES = 2**28  # a big input file becomes several shards, so that later steps run parallel
_UNUSABLE = -1

_FEATURES = {
    features.IMAGE: tf.io.FixedLenFeature([], tf.string),
    features.LABEL: tf.io.VarLenFeature(tf.int64),
}


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
    written: Counter[str] = field(default_factory=Counter)  # split -> records
    rejected: Counter[str] = field(default_factory=Counter)  # reason -> records
    error: str = ""  # why the file could not be read to its end

    def to_json(self) -> str:
        return json.dumps(vars(self), sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> FileResult:
        values = json.loads(line)
        values["written"] = Counter(values["written"])
        values["rejected"] = Counter(values["rejected"])
        return cls(**values)


def sort_records(
    source: InputFile, split_uri: Callable[[str], str], rejected_uri: str, scratch_uri: str
) -> FileResult:
    """Writes the usable records of a file to its splits and the reasons for the others.

    Files are written in `scratch_uri` and moved when whole, so that a worker that is killed and
    tried again leaves neither halves nor doubles. Memory is bounded by `_BATCH` encoded records
    and `_DECODERS` decoded ones.

    Args:
        source: the file.
        split_uri: split name -> directory of its shards.
        rejected_uri: directory of the JSON lines {file, record, reason}, one per rejected record.
        scratch_uri: directory for unfinished files, on the same file system.
    """
    result = FileResult(source.path)
    names = [split.name for split in source.splits for _ in range(split.buckets)]
    assign = _assignment(len(names), source.partition_feature)
    shards = {
        split.name: _Shards(split_uri(split.name), source.index, scratch_uri)
        for split in source.splits
    }
    rejections = []
    for batch in _read(source.path, result):
        for record, bucket in zip(batch.numpy(), assign(batch), strict=True):
            if bucket == _UNUSABLE:
                reason = reason_unusable(record)
                result.rejected[reason] += 1
                rejections.append((result.records, reason))
            else:
                name = names[bucket]
                result.written[name] += 1
                shards[name].write(record)
            result.records += 1
    for writer in shards.values():
        writer.close()
    if rejections:
        _write_rejections(source, rejections, rejected_uri, scratch_uri)
    return result


def reason_unusable(record: bytes) -> str:
    """Why a record that the graph refused cannot be used, in a few words."""
    if not record:
        return "empty record"
    try:
        found = tf.train.Example.FromString(record).features.feature
    except Exception:  # the type depends on protobuf's implementation
        return "not a tf.train.Example"
    if features.IMAGE not in found or found[features.IMAGE].WhichOneof("kind") is None:
        return f"no feature `{features.IMAGE}`"
    if not found[features.IMAGE].HasField("bytes_list"):
        return f"`{features.IMAGE}` is not a bytes feature"
    values = found[features.IMAGE].bytes_list.value
    if len(values) != 1:
        return f"`{features.IMAGE}` does not hold exactly one value"
    if features.LABEL in found and found[features.LABEL].WhichOneof("kind") is not None:
        label = found[features.LABEL]
        if not label.HasField("int64_list"):
            return f"`{features.LABEL}` is not an int64 feature"
        if len(label.int64_list.value) > 1:
            return f"`{features.LABEL}` holds more than one value"
        if any(value < features.NO_LABEL for value in label.int64_list.value):
            return f"`{features.LABEL}` below {features.NO_LABEL}"
    return images.reason_unusable(values[0]) or "cannot be parsed"


@functools.cache  # traced once per process, not once per file
def _assignment(num_buckets: int, partition_feature: str) -> Callable[[tf.Tensor], np.ndarray]:
    """A function: records, string [N] -> bucket int64 [N], -1 for a record that is unusable."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def assign(records: tf.Tensor) -> tf.Tensor:
        parsed = tf.io.parse_example(records, _FEATURES)
        labels = parsed[features.LABEL]
        valid = tf.debugging.Assert(
            (labels.dense_shape[1] <= 1) & tf.reduce_all(labels.values >= features.NO_LABEL),
            [features.LABEL],
        )
        sizes = tf.map_fn(
            lambda image: tf.size(images.decode_image(image)),
            parsed[features.IMAGE],
            parallel_iterations=_DECODERS,
            fn_output_signature=tf.int32,
        )
        with tf.control_dependencies([valid, sizes]):
            key = parsed[features.IMAGE] if partition_feature else records
            return tf.strings.to_hash_bucket_fast(key, num_buckets)

    def assign_all(records: tf.Tensor) -> np.ndarray:
        # Graph code cannot catch an error. Halving finds the few records that cause one, and
        # leaves the many others in batches.
        try:
            return assign(records).numpy()
        except (tf.errors.InvalidArgumentError, UnicodeDecodeError):  # the latter: its message
            if len(records) == 1:
                return np.array([_UNUSABLE])
            half = len(records) // 2
            return np.concatenate([assign_all(records[:half]), assign_all(records[half:])])

    return assign_all


def _read(path: str, result: FileResult) -> Iterator[tf.Tensor]:
    """Batches of a file's records, string [<= _BATCH]; a damaged file ends with `error` set."""
    gzip = path.endswith(".gz")
    try:
        if gzip and fileio.stat(path).length == 0:
            result.error = "an empty file, which is no gzip"
            return
        yield from tf.data.TFRecordDataset(path, "GZIP" if gzip else "").batch(_BATCH)
    except tf.errors.OpError as error:
        is_gzip = gzip
        with contextlib.suppress(tf.errors.OpError):  # a file that is gone has no name to correct
            is_gzip = _begins_as_gzip(path)
        if is_gzip != gzip:
            what = "gzip but not named .gz" if is_gzip else "named .gz but not gzip"
        else:
            detail = re.sub(r"\{\{.*?\}\}|\[Op:.*|'", "", error.message)
            what = f"truncated or corrupt ({' '.join(detail.split())})"
        result.error = what


def _begins_as_gzip(path: str) -> bool:
    with fileio.open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


class _Shards:
    """Gzip TFRecord shards of one split that come from one input file."""

    def __init__(self, directory: str, file_index: int, scratch_uri: str) -> None:
        self._directory = directory
        self._file_index = file_index
        self._scratch_uri = scratch_uri
        self._part = 0
        self._bytes = 0
        self._writer: tf.io.TFRecordWriter | None = None
        self._path = ""

    def write(self, record: bytes) -> None:
        if self._writer is None:
            self._path = os.path.join(self._scratch_uri, uuid.uuid4().hex)
            # Images are compressed already: the fastest level loses nothing.
            options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
            self._writer = tf.io.TFRecordWriter(self._path, options)
        self._writer.write(record)
        self._bytes += len(record)
        if self._bytes >= _SHARD_BYTES:
            self.close()

    def close(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        name = f"data_tfrecord-{self._file_index:05d}-{self._part:05d}.gz"
        fileio.rename(self._path, os.path.join(self._directory, name), overwrite=True)
        self._writer, self._bytes, self._part = None, 0, self._part + 1


def _write_rejections(
    source: InputFile, rejections: list[tuple[int, str]], rejected_uri: str, scratch_uri: str
) -> None:
    path = os.path.join(scratch_uri, uuid.uuid4().hex)
    with fileio.open(path, "w") as file:
        for record, reason in rejections:
            line = {"file": source.path, "record": record, "reason": reason}
            file.write(json.dumps(line) + "\n")
    name = f"records-{source.index:05d}.jsonl"
    fileio.rename(path, os.path.join(rejected_uri, name), overwrite=True)
