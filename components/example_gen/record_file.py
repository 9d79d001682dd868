"""TFRecord files as they come: compressed or not by what they hold, not by what they are called."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import tensorflow as tf

from components.errors import PipelineError

_GZIP = b"\x1f\x8b"


class DamagedFile(PipelineError):
    """A file is not a whole TFRecord file; the message says why and does not name it."""


def batches(path: str, size: int) -> Iterator[tf.Tensor]:
    """Reads a file.

    Args:
        path: file, uncompressed, or compressed as a whole with gzip or ZLIB.
        size: records in a batch at most; one more batch is read ahead.

    Yields:
        records, string [<= size].

    Raises:
        DamagedFile: after the batches in front of the damage.
    """
    name = os.fsencode(path)  # as it is on disk, which need not be UTF-8
    try:
        if path.endswith(".gz") and tf.io.gfile.stat(name).length == 0:
            raise DamagedFile("an empty file, which is no gzip")
        records = tf.data.TFRecordDataset(name, _compression(name), buffer_size=1 << 20)
        yield from records.batch(size).prefetch(1)
    except tf.errors.OpError as error:
        detail = re.sub(r"\{\{.*?\}\}|\[Op:.*|'", "", error.message)
        raise DamagedFile(f"truncated or corrupt ({' '.join(detail.split())})") from error


def _compression(path: bytes) -> str:
    """What TensorFlow calls the compression of a file."""
    with tf.io.gfile.GFile(path, "rb") as file:
        head = file.read(2)
    if head == _GZIP:
        kind = "GZIP"
    elif _is_zlib_header(head):
        kind = "ZLIB"
    else:
        return ""
    # A record begins with its length, which may look like either. Its checksum tells.
    try:
        next(iter(tf.data.TFRecordDataset(path).take(1)))
    except tf.errors.DataLossError:
        return kind
    return ""


def _is_zlib_header(head: bytes) -> bool:
    """Whether two bytes are method 8 (deflate), a window of at most 32 KiB, and fit (RFC 1950)."""
    if len(head) < 2:
        return False
    return head[0] & 0x0F == 8 and head[0] >> 4 <= 7 and int.from_bytes(head, "big") % 31 == 0
