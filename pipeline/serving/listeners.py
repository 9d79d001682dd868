"""What listens: gRPC with its health service, and HTTP.

Both answer before there is anything to serve. Free of TensorFlow, whose import takes most of the
time that a server needs to start.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import grpc
import orjson
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from components.errors import PipelineError, UserError, one_line

_MIB = 2**20

# Seconds in which a client must have said what it wants; a slower one is cut off.
HANDSHAKE_SECONDS = 20.0

_SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


@dataclasses.dataclass(frozen=True)
class Tls:
    """Files in PEM format.

    Attributes:
        certificate, key: of the server.
        client_authority: certificates that clients must be signed by; None asks for none.
    """

    certificate: Path
    key: Path
    client_authority: Path | None = None

    def for_grpc(self) -> grpc.ServerCredentials:
        """The files for a gRPC server."""
        authority = _read(self.client_authority) if self.client_authority else None
        return grpc.ssl_server_credentials(
            [(_read(self.key), _read(self.certificate))], authority, authority is not None
        )

    def for_http(self) -> ssl.SSLContext:
        """The files for an HTTP server.

        Raises:
            UserError: they cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.client_authority:
                context.load_verify_locations(self.client_authority)
                context.verify_mode = ssl.CERT_REQUIRED
        except (ssl.SSLError, OSError) as error:
            raise UserError(
                f"{self.certificate}, {self.key}: not a certificate and its key in PEM format "
                f"({one_line(error)})"
            ) from error
        return context


class Answering(Protocol):
    """What answers, once it is there.

    Attributes:
        rpc_handlers: of the gRPC services.
    """

    rpc_handlers: list[grpc.GenericRpcHandler]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The answer to an HTTP request."""


class Health:
    """The health service of gRPC."""

    def __init__(self):
        self.servicer = health.aio.HealthServicer()

    async def report(self, *, serving: bool) -> None:
        """What probes are told from now on."""
        states = health_pb2.HealthCheckResponse
        for name in _SERVICES:
            await self.servicer.set(name, states.SERVING if serving else states.NOT_SERVING)


class _Waiting(grpc.GenericRpcHandler):
    """Services of a gRPC server that starts without them: calls wait until they are there."""

    def __init__(self, services: asyncio.Future[Answering]):
        self._services = services

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if self._services.done():
            return self._found(details)
        return grpc.unary_unary_rpc_method_handler(functools.partial(self._wait, details))

    def _found(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        found = (each.service(details) for each in self._services.result().rpc_handlers)
        return next((handler for handler in found if handler is not None), None)

    async def _wait(
        self, details: grpc.HandlerCallDetails, request: bytes, context: grpc.aio.ServicerContext
    ) -> bytes:
        await asyncio.shield(self._services)
        handler = self._found(details)
        if handler is None:
            return await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        answer = await handler.unary_unary(handler.request_deserializer(request), context)
        return handler.response_serializer(answer)


@contextlib.asynccontextmanager
async def listening_grpc(
    host: str,
    port: int,
    tls: Tls | None,
    checks: Health,
    services: asyncio.Future[Answering],
    max_message_mib: int,
    max_requests: int,
    grace_seconds: float,
) -> AsyncIterator[int]:
    """A gRPC server; yields its port, and lets calls end when the context does.

    Raises:
        PipelineError: the port is taken.
    """
    server = grpc.aio.server(
        handlers=[_Waiting(services)],
        maximum_concurrent_rpcs=max_requests,
        options=[
            ("grpc.max_receive_message_length", max_message_mib * _MIB),
            ("grpc.max_send_message_length", -1),
            ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_SECONDS * 1000)),
            ("grpc.so_reuseport", 0),  # or two servers would share the port
        ],
    )
    health_pb2_grpc.add_HealthServicer_to_server(checks.servicer, server)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if tls is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, tls.for_grpc())
    except (RuntimeError, OSError) as error:
        raise _taken(host, port, "--port", error) from error
    await server.start()
    try:
        yield port
    finally:
        await checks.servicer.enter_graceful_shutdown()
        await server.stop(grace_seconds)


@contextlib.asynccontextmanager
async def listening_http(
    host: str,
    port: int,
    ssl_context: ssl.SSLContext | None,
    services: asyncio.Future[Answering],
    grace_seconds: float,
) -> AsyncIterator[int]:
    """An HTTP server; yields its port, and lets requests end when the context does.

    Args:
        services: answer every request; until they are there requests wait, but for those that
            only look.

    Raises:
        PipelineError: the port is taken.
    """
    # It logs a traceback for whatever is not HTTP, and anybody can send that.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.method == "GET" and not services.done():
            body = orjson.dumps({"error": "the server is starting; try again"})
            return web.Response(body=body, status=503, content_type="application/json")
        return await (await asyncio.shield(services)).handle(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    # An idle connection, and one whose header does not end, is closed after the same time.
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=HANDSHAKE_SECONDS,
        shutdown_timeout=grace_seconds,
        handler_cancellation=True,
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=ssl_context)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise _taken(host, port, "--rest-port", error) from error
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def _taken(host: str, port: int, option: str, error: Exception) -> PipelineError:
    return PipelineError(
        f"cannot listen on {host}, port {port}: {one_line(error)}; choose another with {option}, "
        "0 for any"
    )
