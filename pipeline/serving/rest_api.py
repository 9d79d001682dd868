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
from pipeline.serving.json_tensors import Request, from_json, to_json
from pipeline.serving.manager import Manager
from pipeline.serving.metrics import CONTENT_TYPE, PATH, Metrics
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
        metrics: shown at `PATH`.
        max_bytes: of a request's body, also when it is decompressed.
        max_requests: predictions whose bodies are held at a time; further ones are refused.
        read_seconds: in which a body must arrive.
    """

    def __init__(
        self,
        manager: Manager,
        predictor: Predictor,
        metrics: Metrics,
        max_bytes: int,
        max_requests: int,
        read_seconds: float,
    ):
        self._manager = manager
        self._predictor = predictor
        self._metrics = metrics
        self._max_requests = max_requests
        self._read_seconds = read_seconds
        self._requests = 0
        self.app = web.Application(client_max_size=max_bytes)
        self.app.router.add_route("*", "/{path:.*}", self._handle)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._route(request)
        except RequestError as error:
            return _error(error.http_status, error.message)
        except web.HTTPRequestEntityTooLarge:
            limit = self.app._client_max_size
            return _error(413, f"the request is larger than {limit} bytes")
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
                return _json(_metadata(grpc_api.metadata(self._manager.find(*which))))
            return _json(_fields(grpc_api.status(self._manager.states(*which))))
        raise invalid(f"Malformed request: {request.method} {path}")

    async def _predict(self, request: web.Request, found: re.Match) -> web.Response:
        if found["method"].lower() != "predict":
            raise RequestError(
                grpc.StatusCode.UNIMPLEMENTED, f"{found['method']} is not supported; use predict"
            )
        if self._requests >= self._max_requests:
            raise RequestError(
                grpc.StatusCode.UNAVAILABLE, "the server has too many requests to do; try again"
            )
        self._requests += 1
        try:
            with self._predictor.observed("rest") as known:
                parsed = Request.parse(await self._body(request))
                try:
                    signature = self._predictor.signature(*_which(found), parsed.signature_name)
                except RequestError as error:
                    if error.code != grpc.StatusCode.FAILED_PRECONDITION:
                        raise
                    raise invalid(error.message) from error  # of this API, here
                known(signature)
                columns = parsed.columns(signature)
                answer = await self._predictor.predict(signature, columns, from_json)
            return _json(to_json(answer.outputs, parsed.by_row))
        finally:
            self._requests -= 1

    async def _body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._read_seconds):
                return await request.read()
        except TimeoutError as error:
            # The rest may never come: the connection is of no more use.
            request.protocol.force_close()
            raise RequestError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"the request did not arrive within {self._read_seconds:g} s",
            ) from error


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
