"""Tensors of requests: what a signature takes, checked before memory is spent on it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from pipeline.serving.errors import invalid

Arrays = Mapping[str, np.ndarray]

# Fields of a TensorProto with the values of a type, where they are not in `tensor_content`.
_FIELDS = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_STRING: "string_val",
}


@dataclasses.dataclass(frozen=True)
class Spec:
    """An input or output of a signature.

    Attributes:
        name: its key in requests and responses.
        dtype: `tensorflow.DType`.
        shape: sizes; None for the batch.
    """

    name: str
    dtype: tf.DType
    shape: tuple[int | None, ...]

    @classmethod
    def from_info(cls, name: str, info: meta_graph_pb2.TensorInfo) -> Spec:
        sizes = (dim.size for dim in info.tensor_shape.dim)
        shape = tuple(None if size < 0 else size for size in sizes)
        return cls(name, tf.as_dtype(info.dtype), shape)

    @property
    def batched(self) -> bool:
        """Whether its first dimension is the batch."""
        return bool(self.shape) and self.shape[0] is None

    def check(self, shape: tuple[int, ...], max_rows: int) -> None:
        """Refuses a shape that the signature does not take, or more than `max_rows` rows.

        Raises:
            RequestError: INVALID_ARGUMENT, naming the input.
        """
        fits = len(shape) == len(self.shape) and all(
            expected in (None, size) for size, expected in zip(shape, self.shape, strict=True)
        )
        if not fits or any(size < 0 for size in shape):
            expected = ", ".join("N" if size is None else str(size) for size in self.shape)
            raise invalid(f"{self.name} must have the shape [{expected}]. Received: {list(shape)}")
        if self.batched and shape[0] > max_rows:
            raise invalid(
                f"{self.name} has {shape[0]} rows; this server takes at most {max_rows} in one "
                "request"
            )


def from_proto(spec: Spec, proto: tensor_pb2.TensorProto, max_rows: int) -> np.ndarray:
    """An input of a gRPC request as an array.

    Raises:
        RequestError: INVALID_ARGUMENT, naming the input.
    """
    if proto.dtype != spec.dtype.as_datatype_enum:
        known = proto.dtype in types_pb2.DataType.values()
        received = types_pb2.DataType.Name(proto.dtype) if known else proto.dtype
        raise invalid(f"{spec.name} must be of type {spec.dtype.name}. Received: {received}")
    if proto.tensor_shape.unknown_rank:
        raise invalid(f"{spec.name} must have a shape")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    spec.check(shape, max_rows)
    size = math.prod(shape)
    if proto.tensor_content and spec.dtype != tf.string:
        whole = len(proto.tensor_content) == size * spec.dtype.size
    else:
        given = len(getattr(proto, _FIELDS[proto.dtype]))
        # Fewer numbers than elements repeat the last one, as everywhere in TensorFlow. Strings
        # may not: one of megabytes, a thousand times, would fit into a small request.
        whole = given == size or (spec.dtype != tf.string and 0 < given < size)
    if not whole:
        raise invalid(f"{spec.name} does not hold as many values as its shape {list(shape)} says")
    try:
        return tf.make_ndarray(proto).reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(f"{spec.name} is not a tensor: {error}") from error


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """An output as it is sent: numbers packed in `tensor_content`."""
    return tf.make_tensor_proto(array)
