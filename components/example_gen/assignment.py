"""Where records go: the hash bucket of each, and its label, found in batches."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from components.example_gen import parsing
from components.example_gen.check import UNUSABLE
from components.example_gen.config import Fields
from components.example_gen.halving import by_halves

# An operation that fails for payloads, string [M], of which one cannot be used.
CheckPayloads = Callable[[tf.Tensor], tf.Operation]


class Assigned(NamedTuple):
    """A batch of N records."""

    buckets: np.ndarray  # int64 [N], UNUSABLE for a record that cannot be used
    labels: np.ndarray  # int64 [N]
    has_label: np.ndarray  # bool [N]
    canonical: np.ndarray  # bool [N], whether it may be what is to be written


def assign(
    records: tf.Tensor,
    names: Fields,
    num_buckets: int,
    by_payload: bool,
    check: CheckPayloads | None = None,
) -> Assigned:
    """Parses records, string [N], and hashes them; see `components.example_gen.check.Check.sort`.

    Args:
        records, num_buckets, by_payload: as there.
        names: of the features.
        check: of the payloads, in the graph; they are not looked at without. A function of a
            module, as one trace is kept for each.
    """

    def assigned(part: tf.Tensor) -> Assigned:
        # Those of one file have labels of one type, as a rule.
        label_type = parsing.label_type(part[0].numpy(), names)
        find = _traced(num_buckets, by_payload, names, label_type, check)
        canonical = np.full(len(part), parsing.is_canonical(names, label_type))
        buckets, labels, has_label = (tensor.numpy() for tensor in find(part))
        return Assigned(buckets, labels, has_label, canonical)

    nothing = np.array([False])
    unusable = Assigned(np.array([UNUSABLE]), np.array([0]), nothing, nothing)
    parts = [part.made or unusable for part in by_halves(records, assigned, parsing.REFUSALS)]
    return Assigned._make(map(np.concatenate, zip(*parts, strict=True)))


@functools.cache  # traced once per process, not once per file
def _traced(
    num_buckets: int,
    by_payload: bool,
    names: Fields,
    label_type: tf.DType,
    check: CheckPayloads | None,
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """A function: records, string [N] -> bucket int64 [N], label int64 [N], has label bool [N]."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def find(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        parsed = parsing.parse(records, names, label_type)
        usable = tf.boolean_mask(parsed.payloads, parsed.usable)
        with tf.control_dependencies([check(usable)] if check else []):
            key = parsed.payloads if by_payload else records
            buckets = tf.strings.to_hash_bucket_fast(key, num_buckets)
        unusable = tf.constant(UNUSABLE, tf.int64)
        return tf.where(parsed.usable, buckets, unusable), parsed.labels, parsed.has_label

    return find
