"""Records of images: all must decode, and pass as they are."""

from __future__ import annotations

import os

import tensorflow as tf

from components.example_gen import parsing
from components.example_gen.assignment import assign
from components.example_gen.check import UNUSABLE, Sorted
from components.example_gen.config import Fields
from models import images

_DECODERS = min(os.cpu_count() or 1, 16)  # images decoded at a time


class ImageCheck:
    """See `components.example_gen.check.Check`; at most `_DECODERS` images are in memory."""

    def __init__(self, names: Fields):
        self.names = names

    def sort(self, records: tf.Tensor, num_buckets: int, by_payload: bool) -> Sorted:
        found = assign(records, self.names, num_buckets, by_payload, _check)
        columns = (each.tolist() for each in (found.buckets, found.labels, found.canonical))
        written = [
            [] if bucket == UNUSABLE else [self._written(record, label, is_canonical)]
            for record, bucket, label, is_canonical in zip(records.numpy(), *columns, strict=True)
        ]
        return Sorted(found.buckets, found.labels, found.has_label, written)

    def undecodable(self, payload: bytes) -> tuple[str, str] | None:
        reason = images.reason_unusable(payload)
        return (reason, "") if reason else None

    def _written(self, record: bytes, label: int, is_canonical: bool) -> bytes:
        if is_canonical and not parsing.has_source(record):
            return record
        return parsing.canonical(record, self.names, label)


def _check(payloads: tf.Tensor) -> tf.Operation:
    return images.check_images(payloads, _DECODERS)
