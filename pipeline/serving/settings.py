"""How a model server serves."""

from __future__ import annotations

import dataclasses

from pipeline.serving.listeners import Tls


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
