"""The server process: what listens, and how it starts and ends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import resource
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from components.errors import PipelineError, UserError, one_line
from pipeline.serving.errors import RequestError
from pipeline.serving.followed_store import FollowedStore
from pipeline.serving.grpc_api import ModelService, PredictionService
from pipeline.serving.manager import Manager
from pipeline.serving.metrics import Metrics
from pipeline.serving.predictor import Predictor
from pipeline.serving.rest_api import RestApi
from pipeline.serving.scheduler import Scheduler

_LOG = logging.getLogger(__name__)
_MIB = 2**20

# Seconds in which a client must have said what it wants; a slower one is cut off.
_HANDSHAKE_SECONDS = 20.0


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


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to serve.

    Attributes:
        store: folder or URI of the release store.
        host: address to listen on.
        port, rest_port: 0 takes a free one.
        tls: None for none.
        threads: batches that run at the same time.
        max_batch: rows that requests are joined to; 0 joins none.
        max_rows: rows of one request.
        max_message_mib: size of one request.
        max_requests: requests that are read, waiting or running at a time, of each API.
        timeout: seconds for requests without a deadline.
        poll_seconds: between two looks at the store.
        grace_seconds: that requests get to end when the server is stopped.
    """

    store: str
    host: str = "127.0.0.1"
    port: int = 8500
    rest_port: int = 8501
    tls: Tls | None = None
    threads: int = 2
    max_batch: int = 64
    max_rows: int = 1024
    max_message_mib: int = 16
    max_requests: int = 128
    timeout: float = 30.0
    poll_seconds: float = 1.0
    grace_seconds: float = 30.0


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        port, rest_port: it listens on.
        served: model -> versions.
    """

    port: int
    rest_port: int
    served: dict[str, list[int]]


@contextlib.asynccontextmanager
async def running(
    settings: Settings, on_change: Callable[[dict[str, list[int]]], None] = lambda served: None
) -> AsyncIterator[Running]:
    """Serves for as long as the context lasts; requests that are there at its end are answered.

    Args:
        settings: how.
        on_change: called with model -> versions whenever something else is served than before.

    Raises:
        PipelineError: there is no release, it cannot be loaded, or a port is taken.
        UserError: the certificate or its key cannot be used.
    """
    _raise_file_limit()
    ssl_context = _ssl_context(settings.tls) if settings.tls else None
    store = FollowedStore(settings.store)
    text = await asyncio.to_thread(store.config)
    if text is None:
        raise PipelineError(
            f"nothing has been released to {settings.store} yet; `vqvae run` makes a release"
        )
    # What is there now stays for ever; without it, freeing an old release is a matter of
    # milliseconds.
    gc.collect()
    gc.freeze()
    metrics = Metrics()
    served: dict[str, list[int]] = {}
    started = False

    def changed(now: dict[str, list[int]]) -> None:
        served.clear()
        served.update(now)
        if started:
            on_change(now)

    manager = Manager(store, metrics, changed)
    try:
        await manager.apply_text(text)
    except RequestError as error:
        raise PipelineError(f"{settings.store}: {error.message}") from error
    started = True
    scheduler = Scheduler(
        settings.threads,
        settings.max_batch,
        2 * settings.max_requests,
        4 * settings.max_requests * _MIB,
        metrics,
    )
    predictor = Predictor(manager, scheduler, metrics, settings.max_rows, settings.timeout)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(store.close)
        stack.push_async_callback(scheduler.close)
        port = await stack.enter_async_context(_grpc(settings, manager, predictor))
        rest = _rest(
            settings,
            ssl_context,
            RestApi(
                manager,
                predictor,
                metrics,
                settings.max_message_mib * _MIB,
                settings.max_requests,
                _HANDSHAKE_SECONDS,
            ),
        )
        rest_port = await stack.enter_async_context(rest)
        following = asyncio.create_task(manager.follow(settings.poll_seconds))
        stack.push_async_callback(_ended, following)
        yield Running(port, rest_port, served)


async def serve(
    settings: Settings, on_start: Callable[[Running], None], on_change: Callable[..., None]
) -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    async with running(settings, on_change) as server:
        on_start(server)
        await stop.wait()


@contextlib.asynccontextmanager
async def _grpc(settings: Settings, manager: Manager, predictor: Predictor) -> AsyncIterator[int]:
    server = grpc.aio.server(
        maximum_concurrent_rpcs=settings.max_requests,
        options=[
            ("grpc.max_receive_message_length", settings.max_message_mib * _MIB),
            ("grpc.max_send_message_length", -1),
            ("grpc.server_handshake_timeout_ms", int(_HANDSHAKE_SECONDS * 1000)),
            ("grpc.so_reuseport", 0),  # or two servers would share the port
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(manager, predictor), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(manager), server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    address = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        port = _bind(server, f"{address}:{settings.port}", settings.tls)
    except (RuntimeError, OSError) as error:
        raise _taken(settings.host, settings.port, "--port", error) from error
    await server.start()
    for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
        await checks.set(service, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield port
    finally:
        await checks.enter_graceful_shutdown()
        await server.stop(settings.grace_seconds)


@contextlib.asynccontextmanager
async def _rest(
    settings: Settings, ssl_context: ssl.SSLContext | None, api: RestApi
) -> AsyncIterator[int]:
    # It logs a traceback for whatever is not HTTP, and anybody can send that.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    # An idle connection, and one whose header does not end, is closed after the same time.
    runner = web.AppRunner(
        api.app,
        access_log=None,
        keepalive_timeout=_HANDSHAKE_SECONDS,
        shutdown_timeout=settings.grace_seconds,
        handler_cancellation=True,
    )
    await runner.setup()
    site = web.TCPSite(runner, settings.host, settings.rest_port, ssl_context=ssl_context)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise _taken(settings.host, settings.rest_port, "--rest-port", error) from error
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _ended(task: asyncio.Task) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _bind(server: grpc.aio.Server, address: str, tls: Tls | None) -> int:
    if tls is None:
        return server.add_insecure_port(address)
    authority = _read(tls.client_authority) if tls.client_authority else None
    credentials = grpc.ssl_server_credentials(
        [(_read(tls.key), _read(tls.certificate))], authority, authority is not None
    )
    return server.add_secure_port(address, credentials)


def _ssl_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.client_authority:
            context.load_verify_locations(tls.client_authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, OSError) as error:
        raise UserError(
            f"{tls.certificate}, {tls.key}: not a certificate and its key in PEM format "
            f"({one_line(error)})"
        ) from error
    return context


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


def _raise_file_limit() -> None:
    """Each connection is an open file; the usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
