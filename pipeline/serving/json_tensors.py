"""Bodies of REST requests and responses: tensors in the JSON of TensorFlow Serving.

Rows: `{"instances": [...]}` gives `{"predictions": [...]}`. Columns: `{"inputs": ...}` gives
`{"outputs": ...}`, and is the only form for signatures with scalars. Bytes are `{"b64": "..."}`.

Free of TensorFlow, since the processes that decode large bodies use it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson

from pipeline.serving.errors import invalid
from pipeline.serving.spec import Arrays, Spec, Specs, arrays

DEFAULT_SIGNATURE = "serving_default"

# Bytes of an array that are written at a time; the interpreter's lock is held meanwhile.
_STEP = 1 << 14


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A request.

    Attributes:
        signature_name: empty for the default.
        by_row: whether it came as `instances`.
        inputs: of the signature; none where there is no such signature.
    """

    signature_name: str
    by_row: bool
    inputs: Arrays


def decode(body: bytes, signatures: Mapping[str, Specs], max_rows: int) -> Decoded:
    """Reads the body of a prediction.

    Args:
        body: JSON.
        signatures: what each signature of the model takes.
        max_rows: of one request.

    Raises:
        RequestError: INVALID_ARGUMENT.
    """
    request = Request.parse(body)
    specs = signatures.get(request.signature_name or DEFAULT_SIGNATURE)
    inputs = {}
    if specs is not None:
        inputs = arrays(specs, request.columns(specs), from_json, max_rows)
    return Decoded(request.signature_name, request.by_row, inputs)


@dataclasses.dataclass(frozen=True)
class Request:
    """The body of a prediction.

    Attributes:
        signature_name: empty for the default.
        by_row: whether it came as `instances`.
        values: `instances` or `inputs`, as parsed.
    """

    signature_name: str
    by_row: bool
    values: Any

    @classmethod
    def parse(cls, body: bytes) -> Request:
        """Reads a body.

        Raises:
            RequestError: INVALID_ARGUMENT.
        """
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise invalid(f"JSON Parse error: {error}") from error
        if not isinstance(parsed, dict):
            raise invalid("the request must be a JSON object")
        name = parsed.get("signature_name", "")
        if not isinstance(name, str):
            raise invalid("'signature_name' key must be a string value.")
        if ("instances" in parsed) == ("inputs" in parsed):
            raise invalid("the request must have one of the keys 'instances' and 'inputs'")
        by_row = "instances" in parsed
        values = parsed["instances" if by_row else "inputs"]
        if by_row and not (isinstance(values, list) and values):
            raise invalid("'instances' must be a list that is not empty")
        return cls(name, by_row, values)

    def columns(self, specs: Specs) -> Mapping[str, Any]:
        """The values by name of the input.

        Raises:
            RequestError: INVALID_ARGUMENT.
        """
        names = list(specs)
        if not self.by_row:
            named = isinstance(self.values, dict) and not _is_bytes(self.values)
            if named or len(names) > 1:
                return _object(self.values)
            return {names[0]: self.values}
        first = self.values[0]
        if not isinstance(first, dict) or _is_bytes(first):
            if len(names) > 1:
                raise invalid(f"each instance must be an object with the inputs {names}")
            return {names[0]: self.values}
        if any(spec.shape == () for spec in specs.values()):
            raise invalid("this signature has scalar inputs: give 'inputs' instead of 'instances'")
        rows = [_object(row) for row in self.values]
        if any(row.keys() != first.keys() for row in rows):
            raise invalid("all instances must have the same inputs")
        return {name: [row[name] for row in rows] for name in first}


def from_json(spec: Spec, value: Any, max_rows: int) -> np.ndarray:
    """An input of a REST request as an array.

    Raises:
        RequestError: INVALID_ARGUMENT, naming the input.
    """
    if spec.is_string:
        if not isinstance(value, list):
            raise invalid(f"{spec.name} must be a list of strings")
        spec.check((len(value),), max_rows)
        array = np.empty(len(value), dtype=object)
        array[:] = [_string(spec.name, item) for item in value]
        return array
    try:
        # As objects first: numpy would cut 1.5 down to 1, read "7" as a number, and make room
        # for the longest string in every element.
        objects = np.array(value, dtype=object)
    except ValueError as error:
        raise invalid(f"{spec.name} is not a tensor: its lists differ in length") from error
    if objects.ndim > len(spec.shape):
        spec.check(objects.shape, max_rows)
    floating = spec.dtype.kind == "f"
    allowed = {int, float} if floating else {int}
    others = set(map(type, objects.flat)) - allowed
    if list in others:
        raise invalid(f"{spec.name} is not a tensor: its lists differ in length")
    if others:
        raise invalid(
            f"{spec.name} must be of type {spec.type_name}. Received: "
            f"{', '.join(sorted(kind.__name__ for kind in others))}"
        )
    spec.check(objects.shape, max_rows)
    try:
        with np.errstate(over="ignore"):  # 1e300 is infinite as float32, and for the model to judge
            array = objects.astype(spec.dtype)
    except OverflowError as error:
        raise invalid(f"{spec.name} holds a number that is not {spec.type_name}") from error
    if not floating and (array != objects).any():
        raise invalid(f"{spec.name} holds a number that is not {spec.type_name}")
    return array


def to_json(outputs: Arrays, by_row: bool) -> bytes:
    """The body of a response."""
    if by_row:
        columns = [map(_text, array) for array in outputs.values()]
        rows: Iterable[bytes] = columns[0]
        if len(columns) > 1:
            rows = (_object_text(outputs, row) for row in zip(*columns, strict=True))
        return b'{"predictions":[%b]}' % b",".join(rows)
    texts = [_text(array) for array in outputs.values()]
    return b'{"outputs":%b}' % (texts[0] if len(texts) == 1 else _object_text(outputs, texts))


def _text(value: Any) -> bytes:
    """An array or an element of one, a part at a time."""
    if isinstance(value, bytes):
        return orjson.dumps(value.decode("utf-8", "replace"))
    if isinstance(value, np.ndarray):
        if value.ndim and (value.dtype == object or (value.ndim > 1 and value.nbytes > _STEP)):
            return b"[%b]" % b",".join(map(_text, value))
        value = np.ascontiguousarray(value) if value.ndim else value[()]
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _object_text(names: Iterable[str], texts: Iterable[bytes]) -> bytes:
    members = (orjson.dumps(name) + b":" + text for name, text in zip(names, texts, strict=True))
    return b"{%b}" % b",".join(members)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid("inputs must be given by name, as a JSON object")
    return value


def _is_bytes(value: dict) -> bool:
    return value.keys() == {"b64"}


def _string(name: str, item: Any) -> bytes:
    if isinstance(item, str):
        return item.encode("utf-8")
    if not isinstance(item, dict) or not _is_bytes(item) or not isinstance(item["b64"], str):
        raise invalid(f'{name} must hold strings, or bytes as {{"b64": "..."}}')
    try:
        return base64.b64decode(item["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"{name}: Unable to base64 decode") from error
