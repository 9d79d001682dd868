"""The REST API of TensorFlow Serving: predictions, metadata, status; and the metrics."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import grpc
import orjson
from aiohttp import web
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from pipeline.serving import grpc_api
from pipeline.serving.errors import RequestError, invalid
from pipeline.serving.json_decoder import JsonDecoder
from pipeline.serving.json_tensors import to_json
from pipeline.serving.manager import Manager
from pipeline.serving.metrics import CONTENT_TYPE, PATH, Metrics
from pipeline.serving.off_loop import LARGE, away_if
from pipeline.serving.predictor import Predictor

_LOG = logging.getLogger(__name__)

_WHICH = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(_WHICH + r":(?P<method>classify|regress|predict)", re.IGNORECASE)
_LOOK = re.compile(_WHICH + r"(?P<metadata>/metadata)?", re.IGNORECASE)

# Versions are int64.
_LONGEST_VERSION = 18


class RestApi:
    """The handler of every request.

    Args:
        manager: knows what is served.
        predictor: answers predictions.
        decoder: of their bodies.
        metrics: shown at `PATH`.
        max_bytes: of a request's body, also when it is decompressed.
        max_requests: predictions that are here at a time; further ones are refused.
        max_bodies_bytes: of all bodies that are being received or decoded; beyond, refused too.
        read_seconds: in which a body must arrive.
    """

    def __init__(
        self,
        manager: Manager,
        predictor: Predictor,
        decoder: JsonDecoder,
        metrics: Metrics,
        max_bytes: int,
        max_requests: int,
        max_bodies_bytes: int,
        read_seconds: float,
    ):
        self._manager = manager
        self._predictor = predictor
        self._decoder = decoder
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._max_requests = max_requests
        self._max_bodies_bytes = max_bodies_bytes
        self._read_seconds = read_seconds
        self._requests, self._bodies_bytes = 0, 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._route(request)
        except RequestError as error:
            return _error(error.http_status, error.message)
        except web.HTTPRequestEntityTooLarge:
            return _error(413, f"the request is larger than {self._max_bytes} bytes")
        except web.HTTPException as error:
            return _error(error.status, error.reason)
        except ConnectionError:
            raise  # nobody is there to be answered
        except Exception:
            _LOG.exception("a request failed")
            return _error(500, "the server failed; its log says why")

    async def _route(self, request: web.Request) -> web.Response:
        path = request.path
        if request.method == "POST" and (found := _PREDICT.fullmatch(path)):
            return await self._predict(request, found)
        if request.method == "GET" and path == PATH:
            headers = {"Content-Type": CONTENT_TYPE}
            return web.Response(body=self._metrics.render(), headers=headers)
        if request.method == "GET" and (found := _LOOK.fullmatch(path)):
            which = _which(found)
            if found["metadata"]:
                servable = await self._predictor.servable(*which, self._predictor.deadline())
                return _json(_metadata(grpc_api.metadata(servable)))
            # A probe that finds a model here takes the server for ready.
            status = 503 if self._manager.is_starting(which[0]) else 200
            return _json(_fields(grpc_api.status(self._manager.states(*which))), status)
        raise invalid(f"Malformed request: {request.method} {path}")

    async def _predict(self, request: web.Request, found: re.Match) -> web.Response:
        if found["method"].lower() != "predict":
            raise RequestError(
                grpc.StatusCode.UNIMPLEMENTED, f"{found['method']} is not supported; use predict"
            )
        if self._requests >= self._max_requests:
            raise _busy("requests to do")
        self._requests += 1
        body = bytearray()
        try:
            with self._predictor.observed("rest") as known:
                await self._receive(request, body)
                deadline = self._predictor.deadline()
                servable = await self._predictor.servable(*_which(found), deadline)
                decoded = await self._decoder.decode(bytes(body), servable.inputs, deadline)
                self._forget(body)
                try:
                    signature = self._predictor.signature(servable, decoded.signature_name)
                except RequestError as error:
                    if error.code != grpc.StatusCode.FAILED_PRECONDITION:
                        raise
                    raise invalid(error.message) from error  # of this API, here
                known(signature)
                outputs = await self._predictor.predict(signature, decoded.inputs, deadline)
            large = sum(each.nbytes for each in outputs.values()) > LARGE
            return _json(await away_if(large, lambda: to_json(outputs, decoded.by_row)))
        finally:
            self._forget(body)
            self._requests -= 1

    async def _receive(self, request: web.Request, body: bytearray) -> None:
        try:
            async with asyncio.timeout(self._read_seconds):
                while chunk := await request.content.readany():
                    if self._bodies_bytes + len(chunk) > self._max_bodies_bytes:
                        raise _busy("bytes of requests")
                    self._bodies_bytes += len(chunk)
                    body += chunk
                    if len(body) > self._max_bytes:
                        raise web.HTTPRequestEntityTooLarge(self._max_bytes, len(body))
        except TimeoutError as error:
            # The rest may never come: the connection is of no more use.
            request.protocol.force_close()
            raise RequestError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"the request did not arrive within {self._read_seconds:g} s",
            ) from error

    def _forget(self, body: bytearray) -> None:
        self._bodies_bytes -= len(body)
        body.clear()


def _busy(what: str) -> RequestError:
    return RequestError(grpc.StatusCode.UNAVAILABLE, f"the server has too many {what}; try again")


def _which(found: re.Match) -> tuple[str, int | None, str]:
    """Name, version and label of a path."""
    version = found["version"]
    if version and len(version) > _LONGEST_VERSION:
        raise invalid(f"Failed to convert version: {version} to numeric.")
    return found["name"], int(version) if version else None, found["label"] or ""


def _metadata(response: get_model_metadata_pb2.GetModelMetadataResponse) -> bytes:
    definitions = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(definitions)
    spec = orjson.loads(_fields(response.model_spec))
    return orjson.dumps(
        {
            "model_spec": spec,
            "metadata": {"signature_def": orjson.loads(_fields(definitions))},
        },
        option=orjson.OPT_INDENT_2,
    )


def _fields(message) -> bytes:
    """A message as TensorFlow Serving prints it: its own field names, zeros and all."""
    return json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    ).encode()


def _error(status: int, message: str) -> web.Response:
    return _json(orjson.dumps({"error": message}), status)


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")
