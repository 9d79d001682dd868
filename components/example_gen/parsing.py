"""Examples as others write them: any feature names, labels as numbers or as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from components import features
from components.example_gen.config import Fields

# Beyond it a float32 does not tell a whole number from its neighbour.
_LARGEST_EXACT_FLOAT = 2.0**24
# No sign but that of -1 and no leading zeros, so that each number has one text.
_WHOLE_NUMBER = r"-1|0|[1-9][0-9]{0,17}"
# How the entry of `source` begins in a serialized Example: field 1, length, name.
_SOURCE_ENTRY = b"\n%c%s" % (len(features.SOURCE), features.SOURCE.encode())

# What `parse` and the decoding of images raise, when run, for records that cannot be used; the
# latter is of a message that has bytes of the record in it.
REFUSALS = (tf.errors.InvalidArgumentError, UnicodeDecodeError)

_TYPES = {"bytes_list": tf.string, "float_list": tf.float32, "int64_list": tf.int64}
_LISTED = 12  # features that a message names
_SHOWN = 60  # characters of a value in a message


class Parsed(NamedTuple):
    """A batch of N Examples, as tensors."""

    payloads: tf.Tensor  # string [N], encoded; empty where there is none
    labels: tf.Tensor  # int64 [N], NO_LABEL where there is none
    has_label: tf.Tensor  # bool [N], whether there is a value
    usable: tf.Tensor  # bool [N], as far as can be told without decoding the payload


def label_type(record: bytes, names: Fields) -> tf.DType:
    """The type of an Example's label: int64, float32 or string; int64 where there is none."""
    try:
        found = _features(record)
    except Exception:  # the type depends on protobuf's implementation
        return tf.int64
    return _TYPES.get(_kind(found, names.label), tf.int64)


def parse(records: tf.Tensor, names: Fields, label_type: tf.DType) -> Parsed:
    """Parses Examples whose labels are of one type, inside or outside of a graph.

    Args:
        records: string [N], serialized.
        names: of the features.
        label_type: int64, float32 or string.

    Raises:
        tf.errors.InvalidArgumentError: when run, if one of them is no Example, its payload is not
            one value of bytes, or its label is of another type.
    """
    spec = {
        names.payload: tf.io.FixedLenFeature([], tf.string, default_value=""),
        names.label: tf.io.RaggedFeature(label_type),
    }
    parsed = tf.io.parse_example(records, spec)
    encoded, ragged = parsed[names.payload], parsed[names.label]
    counts, firsts = ragged.row_lengths(), ragged.row_starts()
    has_label = counts > 0
    values, exact = _whole_numbers(ragged.values)
    # One more to read, where the last records have none.
    no_label = tf.constant(features.NO_LABEL, tf.int64)
    labels = tf.where(has_label, tf.gather(tf.concat([values, [no_label]], 0), firsts), no_label)
    exact = tf.gather(tf.concat([exact, [True]], 0), firsts)
    fits = (counts <= 1) & (exact | ~has_label) & (labels >= no_label)
    return Parsed(encoded, labels, has_label, fits & (encoded != b""))


def is_canonical(names: Fields, label_type: tf.DType) -> bool:
    """Whether usable Examples need no change but for `source`, which each may have or not."""
    return names.are_ours and label_type == tf.int64


def has_source(record: bytes) -> bool:
    """Whether a usable Example says, beside its payload, which file that came from."""
    return _SOURCE_ENTRY in record


def canonical(record: bytes, names: Fields, label: int) -> bytes:
    """A usable Example with our own names, and `label` as int64 where it has one.

    `source` is taken off: it is there for messages, and differs for every record. All other
    features stay as they are.
    """
    example = tf.train.Example.FromString(record)
    found = example.features.feature
    (payload,) = found[names.payload].bytes_list.value
    labelled = _kind(found, names.label) != "" and _count(found[names.label]) > 0
    for name in {names.payload, names.label, names.own, features.LABEL, features.SOURCE}:
        if name in found:
            del found[name]
    found[names.own].bytes_list.value[:] = [payload]
    if labelled:
        found[features.LABEL].int64_list.value[:] = [label]
    return example.SerializeToString(deterministic=True)


def replaced(record: bytes, values: Mapping[str, bytes | int]) -> bytes:
    """An Example with some features of one value each set anew."""
    example = tf.train.Example.FromString(record)
    for name, value in values.items():
        feature = example.features.feature[name]
        feature.Clear()
        if isinstance(value, bytes):
            feature.bytes_list.value[:] = [value]
        else:
            feature.int64_list.value[:] = [value]
    return example.SerializeToString(deterministic=True)


def payload_of(record: bytes, names: Fields) -> bytes:
    """What is encoded in a usable Example."""
    (payload,) = _features(record)[names.payload].bytes_list.value
    return payload


def source_of(record: bytes) -> str:
    """The file that the payload came from, if the record tells; for the rare."""
    try:
        values = _features(record)[features.SOURCE].bytes_list.value
    except Exception:  # no Example, or without one
        return ""
    return values[0].decode("utf-8", "backslashreplace") if values else ""


def describe(record: bytes) -> str:
    """The features of an Example, for a message: `` `image/encoded` (bytes), … ``."""
    try:
        found = _features(record)
    except Exception:
        return "no features"
    listed = [
        f"`{name}` ({_type_name(value)})"
        for name, value in sorted(found.items())
        if name != features.SOURCE
    ]
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more or "no features"


def reason_unusable(
    record: bytes, names: Fields, undecodable: Callable[[bytes], tuple[str, str] | None]
) -> tuple[str, str]:
    """Why a record cannot be used, in a few words, and what it holds instead, perhaps nothing.

    Args:
        record: serialized.
        names: of the features.
        undecodable: the same of a payload; None for one that can be used.
    """
    if not record:
        return "empty record", ""
    try:
        found = _features(record)
    except Exception:
        return "not a tf.train.Example", ""
    kind = _kind(found, names.payload)
    if kind != "bytes_list":
        payload = f"`{names.payload}`"
        reason = f"{payload} is not a bytes feature" if kind else f"no feature {payload}"
        return reason, f"there are {describe(record)}{_suggestion(found, names)}"
    values = found[names.payload].bytes_list.value
    if len(values) != 1:
        return f"`{names.payload}` does not hold exactly one value", ""
    wrong = _reason_label_unusable(found, names.label) or undecodable(values[0])
    return wrong or ("cannot be parsed", "")


def _reason_label_unusable(
    found: Mapping[str, tf.train.Feature], name: str
) -> tuple[str, str] | None:
    kind = _kind(found, name)
    values = getattr(found[name], kind).value if kind else ()
    if len(values) > 1:
        return f"`{name}` holds more than one value", ""
    if not values:
        return None
    numbers, exact = _whole_numbers(tf.constant(list(values), _TYPES[kind]))
    if not exact.numpy().all():
        what = "text" if kind == "bytes_list" else "a float"
        shown = values[0].decode("utf-8", "backslashreplace") if kind == "bytes_list" else values[0]
        return f"`{name}` is {what} that is no class index such as 0, 1, 2", repr(shown)[:_SHOWN]
    if numbers.numpy()[0] < features.NO_LABEL:
        return f"`{name}` below {features.NO_LABEL}", ""
    return None


def _whole_numbers(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """int64 [M] of int64, float32 or string [M], and bool [M]: whether each is exact."""
    if values.dtype == tf.string:
        exact = tf.strings.regex_full_match(values, _WHOLE_NUMBER)
        return tf.strings.to_number(tf.where(exact, values, "0"), tf.int64), exact
    if values.dtype == tf.float32:
        exact = (tf.floor(values) == values) & (tf.abs(values) <= _LARGEST_EXACT_FLOAT)
        return tf.cast(tf.where(exact, values, 0.0), tf.int64), exact
    return values, tf.ones_like(values, tf.bool)


def _suggestion(found: Mapping[str, tf.train.Feature], names: Fields) -> str:
    """Which feature the payload probably is: of the bytes the longest."""
    lengths = {
        name: len(value.bytes_list.value[0])
        for name, value in found.items()
        if name != features.SOURCE and len(value.bytes_list.value) == 1
    }
    if not lengths:
        return ""
    settings = f"; set data.features.{names.own}={max(lengths, key=lengths.__getitem__)}"
    if names.label not in found:
        labels = [name for name, value in found.items() if _may_be_label(name, value)]
        settings += f" and data.features.label={min(labels)}" if labels else ""
    return settings


def _may_be_label(name: str, value: tf.train.Feature) -> bool:
    return "label" in name.lower() and len(value.int64_list.value) == 1


def _features(record: bytes) -> Mapping[str, tf.train.Feature]:
    return tf.train.Example.FromString(record).features.feature


def _kind(found: Mapping[str, tf.train.Feature], name: str) -> str:
    """`bytes_list`, `float_list` or `int64_list`; empty where there is no such feature."""
    return (name in found and found[name].WhichOneof("kind")) or ""


def _count(feature: tf.train.Feature) -> int:
    return len(getattr(feature, feature.WhichOneof("kind")).value)


def _type_name(feature: tf.train.Feature) -> str:
    kind = feature.WhichOneof("kind")
    if kind is None:
        return "empty"
    count = _count(feature)
    return kind.removesuffix("_list") + (f" × {count:,}" if count != 1 else "")
