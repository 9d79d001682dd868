"""One version of one model, loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from components.release_store.loading import load
from components.tf_serving import warmup
from pipeline.serving.spec import Arrays, Spec, Specs


class Lease:
    """Ends when neither the table of what is served nor any request refers to a servable."""


class Signature:
    """A function of a servable.

    Attributes:
        model, version: of its servable.
        lease: shared with its servable.
        name: its name in requests.
        inputs, outputs: by name.
        batchable: whether every input and output has one row per image, and the rows of all
            requests one size, so that those of several can be computed together.
    """

    def __init__(self, servable: Servable, name: str, definition: meta_graph_pb2.SignatureDef):
        # Not the servable, which refers to this: a circle would outlive its last request.
        self.model, self.version, self.lease = servable.name, servable.version, servable.lease
        self.name = name
        self.inputs = _specs(definition.inputs)
        self.outputs = _specs(definition.outputs)
        specs = [*self.inputs.values(), *self.outputs.values()]
        same = all(None not in spec.shape[1:] for spec in self.inputs.values())
        self.batchable = same and all(spec.batched for spec in specs)
        self._loaded = servable.loaded
        self._function = servable.loaded.signatures[name]

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Computes the outputs; blocks, and lets other threads of Python run meanwhile."""
        tensors = {
            name: tf.constant(array, tf.as_dtype(self.inputs[name].dtype))
            for name, array in inputs.items()
        }
        return {name: output.numpy() for name, output in self._function(**tensors).items()}


class Servable:
    """A SavedModel of the release store.

    Args:
        name: of the model.
        version: of the release.
        folder: of the SavedModel.

    Raises:
        Exception: whatever TensorFlow raises for a SavedModel that cannot be loaded.
    """

    def __init__(self, name: str, version: int, folder: Path):
        self.name = name
        self.version = version
        self.lease = Lease()
        self._folder = folder
        self.loaded = load(folder)
        self.definitions = _definitions(folder)
        self.signatures = {
            name: Signature(self, name, self.definitions[name]) for name in self.loaded.signatures
        }

    @property
    def inputs(self) -> dict[str, Specs]:
        """What each signature takes."""
        return {name: signature.inputs for name, signature in self.signatures.items()}

    def warm_up(self) -> int:
        """Runs the requests that the release brings for this; returns how many.

        The first call of a function is slow: better now than for a client.
        """
        count = 0
        for name, inputs in self._recorded():
            self.signatures[name](inputs)
            count += 1
        return count

    def _recorded(self) -> Iterator[tuple[str, Arrays]]:
        path = self._folder / warmup.FILE
        if not path.is_file():
            return
        for record in tf.data.TFRecordDataset(os.fsencode(path)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            yield request.model_spec.signature_name or "serving_default", inputs


def _specs(infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, Spec]:
    return {name: _spec(name, infos[name]) for name in sorted(infos)}


def _spec(name: str, info: meta_graph_pb2.TensorInfo) -> Spec:
    sizes = (dim.size for dim in info.tensor_shape.dim)
    shape = tuple(None if size < 0 else size for size in sizes)
    return Spec(name, np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype), shape)


def _definitions(folder: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    (graph,) = (graph for graph in saved.meta_graphs if "serve" in graph.meta_info_def.tags)
    return dict(graph.signature_def)
