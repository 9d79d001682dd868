"""A gRPC server of a release store, in this process, that can be told to misbehave."""

from __future__ import annotations

import threading
import time
from concurrent import futures
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from components import release_store

MODELS = ("encode", "decode", "sample")


class PredictionServer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Serves every release of a store, as TensorFlow Serving does.

    Attributes:
        labels: version label -> version.
        served: versions that are loaded; what is taken out is NOT_FOUND.
        unavailable: how many of the next calls are answered UNAVAILABLE.
        delay: seconds before each answer.
        calls: (model, signature, version, rows) of each call that was answered, in order.
        started: how many calls have come in.
        most_at_once: how many were being answered at the same time.
    """

    def __init__(self, store: Path, credentials: grpc.ServerCredentials | None = None):
        latest = release_store.latest(store).version
        self.store = store
        self.labels = {"stable": latest}
        self.served = set(release_store.versions(store))
        self.unavailable, self.delay = 0, 0.0
        self.calls: list[tuple[str, str, int, int]] = []
        self.started, self.most_at_once, self._running = 0, 0, 0
        self._loaded = {}
        self._lock = threading.Lock()
        unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=unlimited)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self._server)
        address = "localhost:0"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self.target = f"localhost:{self.port}"

    def __enter__(self) -> PredictionServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def Predict(self, request, context):
        with self._lock:
            self.started += 1
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        try:
            return self._answer(request, context)
        finally:
            with self._lock:
                self._running -= 1

    def _answer(self, request, context):
        spec = request.model_spec
        with self._lock:
            refused = self.unavailable > 0
            self.unavailable -= refused
        if refused:
            context.abort(grpc.StatusCode.UNAVAILABLE, "told to be")
        time.sleep(self.delay)
        if spec.HasField("version"):
            version = spec.version.value
        elif spec.version_label:
            if spec.version_label not in self.labels:
                text = f"Unrecognized servable version label: {spec.version_label}"
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
            version = self.labels[spec.version_label]
        else:
            version = max(self.served)
        if spec.name not in MODELS or version not in self.served:
            text = f"Servable not found for request: Specific({spec.name}, {version})"
            context.abort(grpc.StatusCode.NOT_FOUND, text)
        signature = self._model(spec.name, version).signatures.get(spec.signature_name)
        if signature is None:
            text = f'Serving signature key "{spec.signature_name}" not found.'
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        rows = max(len(value) for value in inputs.values() if value.ndim)
        try:
            outputs = signature(**{name: tf.constant(value) for name, value in inputs.items()})
        except (tf.errors.InvalidArgumentError, TypeError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(getattr(error, "message", error)))
        with self._lock:
            self.calls.append((spec.name, spec.signature_name, version, rows))
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return response

    def _model(self, name: str, version: int):
        with self._lock:
            if (name, version) not in self._loaded:
                path = str(release_store.get(self.store, version).path(name))
                self._loaded[name, version] = tf.saved_model.load(path)
            return self._loaded[name, version]
