"""Compressed TFRecord files of image Examples, written without TensorFlow.

TensorFlow takes ten seconds to import, longer than most data sets take to write. A TFRecord is
the record's length, the masked CRC-32C of that length, the record, and its masked CRC-32C.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import google_crc32c

from components.errors import finally_do
from components.features import IMAGE, LABEL, SOURCE

# Field numbers and wire types of tensorflow/core/example/{example,feature}.proto: all of these
# fields are length-delimited (wire type 2).
_FIRST, _SECOND, _THIRD = (number << 3 | 2 for number in (1, 2, 3))


def encode_example(image: bytes, label: int | None, source: bytes = b"") -> bytes:
    """A serialized `tf.train.Example`; features in alphabetic order, so equal data, equal bytes."""
    features = _feature(IMAGE, _field(_FIRST, _field(_FIRST, image)))  # bytes_list.value
    if label is not None:
        packed = _varint(label % 2**64)  # negative numbers are written in two's complement
        features += _feature(LABEL, _field(_THIRD, _field(_FIRST, packed)))  # int64_list.value
    if source:
        features += _feature(SOURCE, _field(_FIRST, _field(_FIRST, source)))
    return _field(_FIRST, features)


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


def _feature(name: str, value: bytes) -> bytes:
    """An entry of the map Features.feature."""
    return _field(_FIRST, _field(_FIRST, name.encode()) + _field(_SECOND, value))


def _field(tag: int, value: bytes) -> bytes:
    return bytes([tag]) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    """Seven bits a byte, lowest first; the eighth bit says that more follow."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
