"""Serialized Examples, written without TensorFlow: equal data gives equal bytes.

Protocol buffers keep the features of an Example in a map, which they write in any order; here it
is that of the alphabet. TensorFlow also takes ten seconds to import, longer than most data sets
take to write.
"""

from __future__ import annotations

from collections.abc import Mapping

# Field numbers and wire types of tensorflow/core/example/{example,feature}.proto: all of these
# fields are length-delimited (wire type 2).
_FIRST, _SECOND, _THIRD = (number << 3 | 2 for number in (1, 2, 3))


def encode(features: Mapping[str, bytes | int]) -> bytes:
    """A serialized `tf.train.Example`, each feature of one value: bytes or an int64."""
    entries: list[bytes] = []
    for name in sorted(features):
        value = features[name]
        if isinstance(value, bytes):
            held = _nested(_FIRST, _nested(_FIRST, [value]))  # bytes_list.value
        else:
            # Packed; negative numbers are written in two's complement.
            held = _nested(_THIRD, _nested(_FIRST, [_varint(value % 2**64)]))  # int64_list.value
        # An entry of the map Features.feature.
        entries += _nested(_FIRST, [*_nested(_FIRST, [name.encode()]), *_nested(_SECOND, held)])
    return b"".join(_nested(_FIRST, entries))


def _nested(tag: int, parts: list[bytes]) -> list[bytes]:
    """A field of these parts, which are joined only at the end: images are large."""
    return [bytes([tag]) + _varint(sum(map(len, parts))), *parts]


def _varint(number: int) -> bytes:
    """Seven bits a byte, lowest first; the eighth bit says that more follow."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
