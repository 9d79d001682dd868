"""An S3 in this process whose writers can be stopped before any request of theirs.

Requests are answered by moto without a connection between, which makes thousands of them cheap:
all above the connection is what writers use otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import io
import os
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.endpoint import AioEndpoint
from botocore.compat import HTTPHeaders
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.botocore_stubber import BotocoreStubber
from moto.s3.models import s3_backends
from object_stores import CREDENTIALS

BUCKET = "bucket"
_turn: contextvars.ContextVar[Turn | None] = contextvars.ContextVar("turn", default=None)


class Killed(BaseException):
    """The writer ends here."""


class Turn:
    """One writer's requests, one at a time.

    Args:
        stop: before which request `meanwhile` happens, counted from 0.
        meanwhile: what others do while the writer is stopped; after `Killed` it does not go on.

    Attributes:
        requests: method and path of each, as they were made.
    """

    def __init__(self, stop: int = -1, meanwhile: Callable[[], None] = lambda: None):
        self._stop, self._meanwhile = stop, meanwhile
        self._lock: asyncio.Lock | None = None
        self._end: BaseException | None = None
        self.requests: list[tuple[str, str]] = []

    def __call__(self, write: Callable[[], Any]) -> Any:
        """Runs a writer under these stops, and returns what it does."""
        context = contextvars.copy_context()
        context.run(_turn.set, self)
        try:
            return context.run(write)
        finally:
            if self._end is not None:
                raise self._end

    async def request(self, what: tuple[str, str], send: Callable[[], Any]) -> Any:
        """Answers the request, in its turn."""
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            self.requests.append(what)
            if len(self.requests) - 1 == self._stop:
                loop, others = asyncio.get_running_loop(), contextvars.Context()
                try:
                    await loop.run_in_executor(None, others.run, self._meanwhile)
                except BaseException as error:
                    self._end = error
            if self._end is not None:
                raise OSError("the writer has ended")
            return send()


class _Raw(io.BytesIO):
    """A body as aiobotocore reads it."""

    async def read(self, size: int = -1) -> bytes:
        return super().read(size)

    @property
    def content(self) -> _Raw:
        return self


@contextlib.contextmanager
def s3_in_process() -> Iterator[None]:
    """S3 with one bucket and nothing in it."""
    stubber = BotocoreStubber()

    def answer(request: Any) -> AioAWSResponse:
        status, headers, body = stubber.process_request(request)
        shown = HTTPHeaders()
        for name, value in headers.items():
            shown[name] = str(value)
        data = body.encode() if isinstance(body, str) else body
        return AioAWSResponse(request.url, status, shown, _Raw(data))

    async def send(self: AioEndpoint, request: Any) -> AioAWSResponse:
        if hasattr(request.body, "read"):
            request.body = await request.body.read()
        turn = _turn.get()
        if turn is None:
            return answer(request)
        path = urllib.parse.unquote(urllib.parse.urlsplit(request.url).path)
        return await turn.request((request.method, path), lambda: answer(request))

    before, real, url_to_fs = dict(os.environ), AioEndpoint._send, fsspec.url_to_fs
    os.environ.update(CREDENTIALS, AWS_DEFAULT_REGION="us-east-1")
    os.environ.pop("AWS_ENDPOINT_URL", None)
    AioEndpoint._send = send
    # One client for all, as making one takes as long as thirty requests; it keeps no listings.
    fsspec.url_to_fs = functools.cache(url_to_fs)
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.reset()
    backend.create_bucket(BUCKET, "us-east-1")
    try:
        yield
    finally:
        AioEndpoint._send, fsspec.url_to_fs = real, url_to_fs
        backend.reset()
        os.environ.clear()
        os.environ.update(before)


def objects() -> dict[str, bytes]:
    """Everything in the bucket, read without any code of ours."""
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    return {name: key.value for name, key in backend.get_bucket(BUCKET).keys.items()}


def lay(contents: dict[str, bytes]) -> None:
    """Makes this the bucket's contents."""
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for name in objects():
        backend.delete_object(BUCKET, name)
    for name, data in contents.items():
        backend.put_object(BUCKET, name, data)
