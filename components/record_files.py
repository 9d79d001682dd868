"""Files of records between components: read in batches, written, and counted.

They are not compressed: images are already, and of raw pixels compressing takes several times as
long as everything else that is done to them. A file that is called `.gz` is read all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

import numpy as np
import tensorflow as tf
from tfx.dsl.io import fileio

from components import durable_files, example_record
from components.contents import FileContents

_BUFFER = 1 << 20


def read_records(files: tf.Tensor | str | list[str]) -> tf.data.Dataset:
    """Serialized Examples, string [], file after file."""
    names = tf.convert_to_tensor(files)
    gzip = tf.reduce_any(tf.strings.regex_full_match(names, r".*\.gz"))
    return tf.data.TFRecordDataset(names, tf.where(gzip, "GZIP", ""), buffer_size=_BUFFER)


class Writer:
    """A file of Examples that appears, under its name, once it is whole.

    Args:
        path: of the file.
        unfinished: folder on the same file system for what is not whole.
    """

    def __init__(self, path: str, unfinished: str):
        self._path = path
        # Beam may run the same work twice at once; each attempt writes a file of its own.
        self._attempt = durable_files.attempt(unfinished)
        self.contents = FileContents()

    def __enter__(self) -> Self:
        self._writer = tf.io.TFRecordWriter(self._attempt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        if error is None:
            fileio.rename(self._attempt, self._path, overwrite=True)

    def write(self, columns: Mapping[str, np.ndarray]) -> None:
        """Adds N records.

        Args:
            columns: a feature each: strings (object) or whole numbers `[N]`, or `[N, ...]` of
                which each row's bytes are the feature, in row-major order.
        """
        for record in encode_examples(columns):
            self._writer.write(record)
            self.contents.add(record)


def encode_examples(columns: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    """Yields serialized Examples of N records; `columns` as in `Writer.write`."""
    rows = {name: _values(column) for name, column in columns.items()}
    for values in zip(*rows.values(), strict=True):
        yield example_record.encode(dict(zip(rows, values, strict=True)))


def _values(column: np.ndarray) -> Iterable[bytes | int]:
    """Of each record."""
    if column.ndim == 1:
        return column.tolist()
    return (row.tobytes() for row in column)


def file_name(prefix: str, index: int, count: int) -> str:
    """Name of a file, among as many of its split."""
    return f"{prefix}-{index:05}-of-{count:05}.tfrecord"
