"""Tensors of REST requests and responses, in the JSON of TensorFlow Serving.

Rows: `{"instances": [...]}` gives `{"predictions": [...]}`. Columns: `{"inputs": ...}` gives
`{"outputs": ...}`, and is the only form for signatures with scalars. Bytes are `{"b64": "..."}`.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import tensorflow as tf

from pipeline.serving.errors import invalid
from pipeline.serving.servable import Signature
from pipeline.serving.tensors import Spec


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

    def columns(self, signature: Signature) -> Mapping[str, Any]:
        """The values by name of the input.

        Raises:
            RequestError: INVALID_ARGUMENT.
        """
        names = list(signature.inputs)
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
        if any(spec.shape == () for spec in signature.inputs.values()):
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
    if spec.dtype == tf.string:
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
    allowed = {int, float} if spec.dtype.is_floating else {int}
    others = set(map(type, objects.flat)) - allowed
    if list in others:
        raise invalid(f"{spec.name} is not a tensor: its lists differ in length")
    if others:
        raise invalid(
            f"{spec.name} must be of type {spec.dtype.name}. Received: "
            f"{', '.join(sorted(kind.__name__ for kind in others))}"
        )
    spec.check(objects.shape, max_rows)
    dtype = spec.dtype.as_numpy_dtype
    try:
        with np.errstate(over="ignore"):  # 1e300 is infinite as float32, and for the model to judge
            array = objects.astype(dtype)
    except OverflowError as error:
        raise invalid(f"{spec.name} holds a number that is not {spec.dtype.name}") from error
    if not spec.dtype.is_floating and (array != objects).any():
        raise invalid(f"{spec.name} holds a number that is not {spec.dtype.name}")
    return array


def to_json(outputs: Mapping[str, np.ndarray], by_row: bool) -> bytes:
    """The body of a response."""
    shown = {name: _shown(array) for name, array in outputs.items()}
    if by_row:
        columns = list(shown.values())
        rows: Any = columns[0] if len(columns) == 1 else None
        if rows is None:
            rows = [dict(zip(shown, row, strict=True)) for row in zip(*columns, strict=True)]
        answer = {"predictions": rows}
    else:
        answer = {"outputs": next(iter(shown.values())) if len(shown) == 1 else shown}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _shown(array: np.ndarray) -> Any:
    if array.dtype == object:
        return [item.decode("utf-8", "replace") for item in array]
    return np.ascontiguousarray(array)


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
