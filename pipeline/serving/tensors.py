"""Tensors of gRPC requests and responses, in the forms that TensorFlow Serving takes and sends."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from pipeline.serving.errors import invalid
from pipeline.serving.spec import Spec

# Fields of a TensorProto with the values of a type, where they are not in `tensor_content`.
_FIELDS = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_STRING: "string_val",
}

# Values that are written at a time; the interpreter's lock is held meanwhile, a millisecond.
_STEP = 1 << 15


def from_proto(spec: Spec, proto: tensor_pb2.TensorProto, max_rows: int) -> np.ndarray:
    """An input of a gRPC request as an array: of `tensor_content` or of the typed fields.

    Raises:
        RequestError: INVALID_ARGUMENT, naming the input.
    """
    dtype = tf.as_dtype(spec.dtype)
    if proto.dtype != dtype.as_datatype_enum:
        known = proto.dtype in types_pb2.DataType.values()
        received = types_pb2.DataType.Name(proto.dtype) if known else proto.dtype
        raise invalid(f"{spec.name} must be of type {spec.type_name}. Received: {received}")
    if proto.tensor_shape.unknown_rank:
        raise invalid(f"{spec.name} must have a shape")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    spec.check(shape, max_rows)
    size = math.prod(shape)
    typed = spec.is_string or not proto.tensor_content
    if typed:
        given = len(getattr(proto, _FIELDS[proto.dtype]))
        # Fewer numbers than elements repeat the last one, as everywhere in TensorFlow. Strings
        # may not: one of megabytes, a thousand times, would fit into a small request.
        whole = given == size or (not spec.is_string and 0 < given < size)
    else:
        whole = len(proto.tensor_content) == size * dtype.size
    if not whole:
        raise invalid(f"{spec.name} does not hold as many values as its shape {list(shape)} says")
    try:
        if typed and size > _STEP and not spec.is_string:
            # In C++, with the interpreter free; by make_ndarray each value is an object of Python.
            return tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy()
        return tf.make_ndarray(proto).reshape(shape)
    except (TypeError, ValueError, OverflowError, tf.errors.InvalidArgumentError) as error:
        raise invalid(f"{spec.name} is not a tensor: {error}") from error


def is_large(proto: tensor_pb2.TensorProto) -> bool:
    """Whether `from_proto` takes longer than the event loop should be kept waiting."""
    field = _FIELDS.get(proto.dtype)
    return field is not None and len(getattr(proto, field)) > _STEP


def to_proto(array: np.ndarray, packed: bool = False) -> tensor_pb2.TensorProto:
    """An output as it is sent.

    Args:
        array: of a type that signatures have.
        packed: numbers in `tensor_content`, which takes a hundredth of the time and, for pixels,
            two thirds of the bytes. Otherwise in the field of their type, as TensorFlow Serving
            sends them unless it is started with another setting: there are clients that look
            nowhere else.
    """
    if packed or array.dtype == object:
        return tf.make_tensor_proto(array)
    proto = tensor_pb2.TensorProto(
        dtype=tf.as_dtype(array.dtype).as_datatype_enum,
        tensor_shape=tf.TensorShape(array.shape).as_proto(),
    )
    values = getattr(proto, _FIELDS[proto.dtype])
    flat = array.reshape(-1)
    for start in range(0, flat.size, _STEP):
        values.extend(flat[start : start + _STEP].tolist())
    return proto
