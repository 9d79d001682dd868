"""Compressed TFRecord files of Examples, written without TensorFlow.

A TFRecord is the record's length, the masked CRC-32C of that length, the record, and its masked
CRC-32C.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import google_crc32c

from components import example_record
from components.errors import finally_do
from components.features import IMAGE, LABEL, SOURCE


def encode_example(image: bytes, label: int | None, source: bytes = b"") -> bytes:
    """A serialized `tf.train.Example` of an image; equal data gives equal bytes."""
    features: dict[str, bytes | int] = {IMAGE: image}
    if label is not None:
        features[LABEL] = label
    if source:
        features[SOURCE] = source
    return example_record.encode(features)


class Writer:
    """Appends records to one open file."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream

    def write(self, record: bytes) -> None:
        length = struct.pack("<Q", len(record))
        self._stream.write(length + _masked_crc(length) + record + _masked_crc(record))


@contextmanager
def create(path: Path) -> Iterator[Writer]:
    """Opens a new file; neither its name nor the time becomes part of it."""
    # Level 1: what there is to gain lies around the images, which are compressed already.
    with open(path, "xb") as file:
        stream = gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0)
        with finally_do(stream.close, f"{path} is not whole"):
            yield Writer(stream)


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
