"""Records of images: all must decode, and pass as they are."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from components.example_gen import parsing
from components.example_gen.check import UNUSABLE, Sorted
from components.example_gen.config import Fields
from components.example_gen.halving import by_halves
from models import images

_DECODERS = min(os.cpu_count() or 1, 16)  # images decoded at a time


class ImageCheck:
    """See `components.example_gen.check.Check`; at most `_DECODERS` images are in memory."""

    def __init__(self, names: Fields):
        self.names = names

    def sort(self, records: tf.Tensor, num_buckets: int, by_payload: bool) -> Sorted:
        names = self.names

        def assigned(part: tf.Tensor) -> tuple[np.ndarray, ...]:
            # Those of one file have labels of one type, as a rule.
            label_type = parsing.label_type(part[0].numpy(), names)
            assign = _assignment(num_buckets, by_payload, names, label_type)
            canonical = np.full(len(part), parsing.is_canonical(names, label_type))
            return *(tensor.numpy() for tensor in assign(part)), canonical

        nothing = np.array([False])
        unusable = (np.array([UNUSABLE]), np.array([0]), nothing, nothing)
        parts = [part.made or unusable for part in by_halves(records, assigned, parsing.REFUSALS)]
        buckets, labels, has_label, canonical = map(np.concatenate, zip(*parts, strict=True))
        columns = (each.tolist() for each in (buckets, labels, canonical))
        written = [
            [] if bucket == UNUSABLE else [self._written(record, label, is_canonical)]
            for record, bucket, label, is_canonical in zip(records.numpy(), *columns, strict=True)
        ]
        return Sorted(buckets, labels, has_label, written)

    def undecodable(self, payload: bytes) -> tuple[str, str] | None:
        reason = images.reason_unusable(payload)
        return (reason, "") if reason else None

    def _written(self, record: bytes, label: int, is_canonical: bool) -> bytes:
        if is_canonical and not parsing.has_source(record):
            return record
        return parsing.canonical(record, self.names, label)


@functools.cache  # traced once per process, not once per file
def _assignment(
    num_buckets: int, by_payload: bool, names: Fields, label_type: tf.DType
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """A function: records, string [N] -> bucket int64 [N], label int64 [N], has label bool [N]."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def assign(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        parsed = parsing.parse(records, names, label_type)
        usable = tf.boolean_mask(parsed.payloads, parsed.usable)
        with tf.control_dependencies([images.check_images(usable, _DECODERS)]):
            key = parsed.payloads if by_payload else records
            buckets = tf.strings.to_hash_bucket_fast(key, num_buckets)
        unusable = tf.constant(UNUSABLE, tf.int64)
        return tf.where(parsed.usable, buckets, unusable), parsed.labels, parsed.has_label

    return assign
