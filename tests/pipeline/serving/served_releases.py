"""Real releases, small enough to train nothing and load in a second, and servers of them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from components import release_store
from components.release import SERVED
from components.trainer.records import parse_images
from models.config import NetworkConfig, PriorConfig
from models.export import export_release
from models.images import preprocess_images
from models.prior import GatedPixelCNN
from models.vqvae import VQVAE
from pipeline.serving import server

NETWORK = NetworkConfig.model_validate(
    {
        "image": {"height": 8, "width": 8, "channels": 1},
        "model": {
            "encoder": {"downsampling": 4, "hidden_units": 4, "residual_blocks": 0},
            "quantizer": {"num_codes": 16},
        },
    }
)
NUM_CODES = 16
NUM_CLASSES = 3


def write_candidate(folder: Path, seed: int) -> dict[str, Path]:
    """SavedModels as the prior's Trainer writes them, of weights that a seed decides."""
    keras.utils.set_random_seed(seed)
    vqvae = VQVAE(NETWORK, data_variance=0.1, seed=seed)
    settings = PriorConfig(layers=1, hidden_units=4, head_units=4)
    export_release(
        vqvae,
        GatedPixelCNN(settings, NUM_CODES, NUM_CLASSES, NETWORK.code_shape, seed),
        preprocess=lambda images: preprocess_images(images, NETWORK.image.hwc),
        preprocess_resources=tf.Module(),
        parse=parse_images(NETWORK.image),
        combined=str(folder / "combined"),
        release=str(folder / "release"),
    )
    candidate = {name: folder / "release" / name for name in SERVED}
    return {**candidate, "evaluate": folder / "combined"}


def publish(store: Path, candidate: dict[str, Path]) -> int:
    return release_store.publish(store, candidate, {"codebook_sha256": "x"}).version


def png(seed: int = 0, shape: tuple[int, int, int] = (8, 8, 1)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return tf.io.encode_png(pixels).numpy()


@contextlib.contextmanager
def serving(store: Path | str, **settings) -> Iterator[server.Running]:
    """A server on free ports, in a thread of this process, when every model answers."""
    with starting(store, **settings) as begun:
        begun.ready.wait()
        if begun.failed:
            raise begun.failed[0]
        yield begun.running


class Starting:
    """A server that listens; `running` and `failed` say what came of it, once it is `ready`."""

    def __init__(self):
        self.listening, self.ready = threading.Event(), threading.Event()
        self.ports: tuple[int, int] = (0, 0)
        self.running: server.Running | None = None
        self.failed: list[BaseException] = []


@contextlib.contextmanager
def starting(store: Path | str, **settings) -> Iterator[Starting]:
    """The same as soon as it listens, or has failed; its failure is for the caller to look at."""
    settings = {"port": 0, "rest_port": 0, "poll_seconds": 0.05, **settings}
    chosen = server.Settings(store=str(store), **settings)
    begun, stop = Starting(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    def listens(*ports: int) -> None:
        begun.ports = ports
        begun.listening.set()

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        async with server.running(chosen, listens) as begun.running:
            begun.ready.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            begun.failed.append(error)
        finally:
            begun.ready.set()
            begun.listening.set()

    thread = threading.Thread(target=run)
    thread.start()
    begun.listening.wait()
    try:
        yield begun
    finally:
        if not loops[0].is_closed():
            loops[0].call_soon_threadsafe(stop.set)
        thread.join()
    if begun.running and begun.failed:  # it failed while it ran, or at its end
        raise begun.failed[0]


def channel(port: int) -> grpc.Channel:
    """A connection that is nobody else's."""
    return grpc.insecure_channel(f"localhost:{port}", [("grpc.use_local_subchannel_pool", 1)])


def request(
    model: str, signature: str = "", version: int | None = None, label: str = "", **inputs
) -> predict_pb2.PredictRequest:
    """A request as any client of TensorFlow Serving makes it."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name = model
    message.model_spec.signature_name = signature
    if version is not None:
        message.model_spec.version.value = version
    if label:
        message.model_spec.version_label = label
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


class GenericClient:
    """Speaks with a server by the stubs of tensorflow-serving-api, and nothing of ours."""

    def __init__(self, port: int):
        self.channel = channel(port)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def predict(self, model: str, *args, timeout: float = 20.0, **inputs) -> dict[str, np.ndarray]:
        response = self.stub.Predict(request(model, *args, **inputs), timeout=timeout)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def refused(self, message: predict_pb2.PredictRequest, timeout: float = 20.0):
        """Code and text of the error that a request is answered with."""
        try:
            self.stub.Predict(message, timeout=timeout)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        raise AssertionError("the request was answered")
