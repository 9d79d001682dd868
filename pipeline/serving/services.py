"""What is behind the listeners: the models and both APIs, put together."""

from __future__ import annotations

from collections.abc import Callable

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from pipeline.serving import listeners
from pipeline.serving.followed_store import FollowedStore
from pipeline.serving.grpc_api import ModelService, PredictionService
from pipeline.serving.json_decoder import JsonDecoder
from pipeline.serving.manager import Manager
from pipeline.serving.metrics import Metrics
from pipeline.serving.predictor import Predictor
from pipeline.serving.rest_api import RestApi
from pipeline.serving.scheduler import Scheduler
from pipeline.serving.settings import Settings

_MIB = 2**20


class Services:
    """A `listeners.Answering`.

    Args:
        settings: how to serve.
        store: whose releases.
        on_change: called with model -> versions when something else is served.

    Attributes:
        manager: knows what is served.
        rpc_handlers: of gRPC.
        handle: answers an HTTP request.
    """

    def __init__(
        self,
        settings: Settings,
        store: FollowedStore,
        on_change: Callable[[dict[str, list[int]]], None],
    ):
        metrics = Metrics()
        max_bytes = settings.max_message_mib * _MIB
        self.manager = Manager(store, metrics, on_change)
        self._scheduler = Scheduler(
            settings.threads,
            settings.max_batch,
            2 * settings.max_requests,
            4 * settings.max_requests * _MIB,
            metrics,
        )
        predictor = Predictor(
            self.manager, self._scheduler, metrics, settings.max_rows, settings.timeout
        )
        self._decoder = JsonDecoder(settings.threads, settings.max_rows)
        self.handle = RestApi(
            self.manager,
            predictor,
            self._decoder,
            metrics,
            max_bytes,
            settings.max_requests,
            max(2 * settings.max_requests * _MIB, 2 * max_bytes),
            listeners.HANDSHAKE_SECONDS,
        ).handle
        self.rpc_handlers: list[grpc.GenericRpcHandler] = []
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(predictor), self
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self.manager), self)

    def add_generic_rpc_handlers(self, handlers: tuple[grpc.GenericRpcHandler, ...]) -> None:
        """What generated code calls in place of a server's method of this name."""
        self.rpc_handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """The same handlers once more, for servers that look them up by name."""

    async def close(self) -> None:
        """Waits until what runs has ended."""
        self._decoder.close()
        await self._scheduler.close()
