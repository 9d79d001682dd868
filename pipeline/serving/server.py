"""The server process: how it starts and ends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from components.errors import PipelineError
from pipeline.serving.errors import RequestError
from pipeline.serving.followed_store import FollowedStore
from pipeline.serving.listeners import Answering, Health, listening_grpc, listening_http
from pipeline.serving.settings import Settings

if TYPE_CHECKING:
    from pipeline.serving.services import Services


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
    settings: Settings,
    on_listening: Callable[[int, int], None] = lambda port, rest_port: None,
    on_change: Callable[[dict[str, list[int]]], None] = lambda served: None,
) -> AsyncIterator[Running]:
    """Serves for as long as the context lasts; requests that are there at its end are answered.

    The server listens at once: probes are answered, and other requests wait for their model. The
    context begins when every model is there.

    Args:
        settings: how.
        on_listening: called with the ports of gRPC and REST when the server listens.
        on_change: called with model -> versions whenever something else is served than before.

    Raises:
        PipelineError: there is no release, it cannot be loaded, or a port is taken.
        UserError: the certificate or its key cannot be used.
    """
    _raise_file_limit()
    ssl_context = settings.tls.for_http() if settings.tls else None
    store = FollowedStore(settings.store)
    text = await asyncio.to_thread(store.config)
    if text is None:
        raise PipelineError(
            f"nothing has been released to {settings.store} yet; `vqvae run` makes a release"
        )
    served: dict[str, list[int]] = {}
    started = False

    def changed(now: dict[str, list[int]]) -> None:
        served.clear()
        served.update(now)
        if started:
            on_change(now)

    async with contextlib.AsyncExitStack() as stack:
        stack.callback(store.close)
        # Ends after the listeners, and is made when they are there.
        behind = await stack.enter_async_context(contextlib.AsyncExitStack())
        answering: asyncio.Future[Answering] = asyncio.get_running_loop().create_future()
        checks = Health()
        await checks.report(serving=False)
        port = await stack.enter_async_context(_grpc(settings, checks, answering))
        rest_port = await stack.enter_async_context(
            listening_http(
                settings.host, settings.rest_port, ssl_context, answering, settings.grace_seconds
            )
        )
        stack.callback(answering.cancel)
        on_listening(port, rest_port)
        services = await asyncio.to_thread(_imported_services)
        made = services(settings, store, changed)
        behind.push_async_callback(made.close)
        try:
            await made.manager.apply(text, lambda: answering.set_result(made))
        except RequestError as error:
            raise PipelineError(f"{settings.store}: {error.message}") from error
        started = True
        await checks.report(serving=True)
        following = asyncio.create_task(made.manager.follow(settings.poll_seconds))
        stack.push_async_callback(_ended, following)
        yield Running(port, rest_port, served)


async def serve(
    settings: Settings,
    on_listening: Callable[[int, int], None],
    on_start: Callable[[dict[str, list[int]]], None],
    on_change: Callable[[dict[str, list[int]]], None],
) -> None:
    """Serves until SIGTERM or SIGINT; `on_start` is called with model -> versions."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    async with running(settings, on_listening, on_change) as server:
        on_start(server.served)
        await stop.wait()


def _grpc(
    settings: Settings, checks: Health, answering: asyncio.Future[Answering]
) -> contextlib.AbstractAsyncContextManager[int]:
    return listening_grpc(
        settings.host,
        settings.port,
        settings.tls,
        checks,
        answering,
        settings.max_message_mib,
        settings.max_requests,
        settings.grace_seconds,
    )


def _imported_services() -> type[Services]:
    """Imports TensorFlow, which takes seconds, on a thread of its own."""
    # TensorFlow imports Keras where there is one, and Keras scikit-learn, pandas and IPython: as
    # much again as TensorFlow itself. A SavedModel runs without them.
    # The stubs know no None there; it stands for a module that must not be imported.
    without_keras = sys.modules.setdefault("keras", None) is None  # type: ignore[arg-type]
    gc.disable()  # nothing that is imported goes again
    try:
        from pipeline.serving.services import Services
    finally:
        gc.enable()
        if without_keras:
            del sys.modules["keras"]
    # What is there now stays for ever; without it, freeing an old release is a matter of
    # milliseconds.
    gc.collect()
    gc.freeze()
    return Services


async def _ended(task: asyncio.Task) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _raise_file_limit() -> None:
    """Each connection is an open file; the usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
