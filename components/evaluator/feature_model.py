"""The network in whose features Fréchet distances are measured: `gate.features`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from components.errors import PipelineError
from components.literal_paths import plain

_SIGNATURE = "serving_default"
_WANTED = (
    "gate.features must be a SavedModel whose signature serving_default has one input, images of "
    "uint8 or of float32 in [0, 1], [N, H, W, C], and one output, float features [N, F]"
)
# Images that it is given at a time, which bounds the memory of a network that is not ours.
_AT_ONCE = 32


class FeatureModel:
    """Images to features, by the user's SavedModel.

    Args:
        uri: of the SavedModel: a folder, or an address that TFX reads.
        image: H, W, C of the images.

    Raises:
        PipelineError: it does not have the signature that it must have.
    """

    def __init__(self, uri: str, image: tuple[int, int, int]):
        check(uri, image)
        with _local(uri) as folder:
            self._model = tf.saved_model.load(folder)
        self._signature = self._model.signatures[_SIGNATURE]
        ((self._input, spec),) = self._signature.structured_input_signature[1].items()
        (self._output,) = self._signature.structured_outputs
        self._dtype = spec.dtype

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 `[N, H, W, C]` -> float64 `[N, F]`."""
        found = []
        for first in range(0, len(images), _AT_ONCE):
            some = tf.convert_to_tensor(images[first : first + _AT_ONCE])
            if self._dtype != tf.uint8:
                some = tf.cast(some, self._dtype) / 255.0
            features = self._signature(**{self._input: some})[self._output]
            found.append(features.numpy().astype(np.float64))
        return np.concatenate(found)


def check(uri: str, image: tuple[int, int, int]) -> None:
    """PipelineError, in one line, if there is no SavedModel that takes these images."""
    try:
        with fileio.open(os.path.join(uri, "saved_model.pb"), "rb") as file:
            saved = saved_model_pb2.SavedModel.FromString(file.read())
    except (OSError, fileio.NotFoundError, tf.errors.OpError, DecodeError) as error:
        raise PipelineError(f"{_WANTED}. {uri}: there is none that can be read") from error
    signature = saved.meta_graphs[0].signature_def.get(_SIGNATURE)
    inputs = list(signature.inputs.values()) if signature else []
    outputs = list(signature.outputs.values()) if signature else []
    if not (
        len(inputs) == len(outputs) == 1
        and inputs[0].dtype in (types_pb2.DT_UINT8, types_pb2.DT_FLOAT)
        and tf.TensorShape(inputs[0].tensor_shape).is_compatible_with([None, *image])
        and outputs[0].dtype in (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE, types_pb2.DT_HALF)
        and tf.TensorShape(outputs[0].tensor_shape).rank == 2
    ):
        size = "×".join(map(str, image))
        received = f"{_described(inputs)} -> {_described(outputs)}" if signature else "no such one"
        raise PipelineError(f"{_WANTED}; these images are {size}. {uri} has {received}")


def fingerprint(uri: str) -> str:
    """Of what lies there, where it is a folder at hand; else empty."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(uri):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            digest.update(os.path.relpath(path, uri).encode(errors="surrogateescape"))
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest() if os.path.isdir(uri) else ""


def _described(tensors: list) -> str:
    return ", ".join(
        f"{types_pb2.DataType.Name(each.dtype).removeprefix('DT_').lower()} "
        f"{tf.TensorShape(each.tensor_shape)}"
        for each in tensors
    )


@contextlib.contextmanager
def _local(uri: str) -> Iterator[str]:
    """A folder, under a name that TensorFlow reads, with what lies at an address."""
    if os.path.isdir(uri):
        with plain(uri) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory() as scratch:
        io_utils.copy_dir(uri, scratch)
        yield scratch
