"""Requests that TensorFlow Serving runs on a model before it answers any.

The first request of a signature is slow, as its graph is optimized and its buffers are found
then. A server that meets these files while it loads a model has that behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from components.kinds import AudioKind, ImageKind
from components.tf_serving import batching
from models.exported import ENCODED

FILE = "assets.extra/tf_serving_warmup_requests"

# model -> signature -> inputs
Requests = Mapping[str, Mapping[str, Mapping[str, TensorProto]]]


def write(
    release: Path,
    kind: ImageKind | AudioKind,
    code_shape: tuple[int, ...],
    conditional: bool = False,
) -> None:
    """Writes the requests of each served model: every signature, for one row and a full batch.

    Only one row where requests are not batched: what a full batch of samples would be there is
    the client's choice, and it takes long.

    Args:
        release: folder with the SavedModels `encode`, `decode` and `sample`.
        kind: of the data.
        code_shape: of an image's codes.
        conditional: `decode` takes labels too.
    """
    full = _requests(batching.LARGEST, kind, code_shape, conditional)
    for model, signatures in _requests(1, kind, code_shape, conditional).items():
        logs = [_log(model, name, inputs) for name, inputs in signatures.items()]
        if model in batching.BATCHED:
            logs += [_log(model, name, inputs) for name, inputs in full[model].items()]
        path = release / model / FILE
        path.parent.mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for log in logs:
                # In one order of the inputs, so that equal models are equal files.
                writer.write(log.SerializeToString(deterministic=True))


def _requests(
    rows: int, kind: ImageKind | AudioKind, code_shape: tuple[int, ...], conditional: bool
) -> Requests:
    identity = {"rows": _same(0, np.int32, rows)}
    codes = {"codes": _same(0, np.int32, rows, *code_shape)}
    labels = {"labels": _same(-1, np.int32, rows)}
    plain = {
        **labels,
        "seed": _same(0, np.int64),
        "temperature": _same(1.0, np.float32),
    }
    controls = {"top_k": _same(0, np.int32), "top_p": _same(1.0, np.float32)}
    return {
        "encode": {
            "serving_default": {ENCODED[kind.kind]: _same(kind.blank(), np.bytes_, rows)},
            "pixels": {"images": _same(0, np.uint8, rows, *kind.shape)},
            "identity": identity,
        },
        "decode": {
            "serving_default": codes | labels if conditional else codes,
            **({"waveform": _frames(rows, kind)} if kind.kind == "audio" else {}),
            "identity": identity,
        },
        "sample": {
            "serving_default": plain,
            "controlled": plain | controls,
            "guided": plain | controls | {"guidance": _same(1.0, np.float32)},
            "complete": plain | controls | codes | {"rows_given": _same(0, np.int32)},
            "identity": identity,
        },
    }


def _frames(rows: int, kind: ImageKind | AudioKind) -> Mapping[str, TensorProto]:
    return {"frames": _same(0, np.uint8, rows, *kind.shape)}


def _same(value: Any, dtype: type, *shape: int) -> TensorProto:
    """A tensor of one value throughout, which takes the room of one value in the file."""
    return tf.make_tensor_proto(value, tf.as_dtype(dtype), shape)


def _log(model: str, signature: str, inputs: Mapping[str, TensorProto]):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, tensor in inputs.items():
        request.inputs[name].CopyFrom(tensor)
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
