"""What a mirror tells those who watch it: health as JSON, and metrics for Prometheus."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge

from components.errors import PipelineError, one_line
from components.release_store.mirror import Mirrored
from pipeline.serving import metrics

HEALTH = "/healthz"
# Seconds in which a client must have said what it wants; a slower one is cut off.
_HANDSHAKE_SECONDS = 20.0


class MirrorStatus:
    """How a mirror does: healthy while it agrees with its store, or did a short while ago.

    Args:
        store: URI of the store that is followed.
        unhealthy_after: seconds.
    """

    def __init__(self, store: str, unhealthy_after: float):
        self._store = store
        self._unhealthy_after = unhealthy_after
        self._lock = threading.Lock()
        self._held: Mirrored | None = None
        self._agreed: float | None = None  # on the monotonic clock
        self._error: str | None = None
        self._registry = CollectorRegistry()
        self._looks = Counter(
            "vqvae_mirror_looks",
            "Looks at the store, by how they ended.",
            ["result"],
            registry=self._registry,
        )
        for result in ("ok", "failed"):
            self._looks.labels(result)
        self._agreed_at = Gauge(
            "vqvae_mirror_agreed_timestamp_seconds",
            "When the folder last held what the store names.",
            registry=self._registry,
        )
        self._versions = Gauge(
            "vqvae_mirrored_version",
            "1 for each version that is named.",
            ["version"],
            registry=self._registry,
        )
        self._left_out = Gauge(
            "vqvae_mirror_left_out",
            "Versions without a label that are not there.",
            registry=self._registry,
        )

    def agreed(self, held: Mirrored | None) -> None:
        """A look went well."""
        with self._lock:
            self._held, self._agreed, self._error = held, time.monotonic(), None
        self._looks.labels("ok").inc()
        self._agreed_at.set_to_current_time()
        self._versions.clear()
        for version in held.served.versions if held else ():
            self._versions.labels(str(version)).set(1)
        self._left_out.set(len(held.left_out) if held else 0)

    def failed(self, error: str) -> None:
        """A look went wrong; what is mirrored is what it was."""
        with self._lock:
            self._error = error
        self._looks.labels("failed").inc()

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is well, and what there is to say of it."""
        with self._lock:
            held, error = self._held, self._error
            ago = None if self._agreed is None else time.monotonic() - self._agreed
        healthy = held is not None and ago is not None and ago <= self._unhealthy_after
        return healthy, {
            "healthy": healthy,
            "store": self._store,
            "stable": held and held.served.stable,
            "canary": held and held.served.canary,
            "versions": list(held.served.versions) if held else [],
            "left_out": held.left_out if held else {},
            "agreed_seconds_ago": None if ago is None else round(ago, 1),
            "error": error,
        }

    def metrics(self) -> bytes:
        return prometheus_client.generate_latest(self._registry)


@contextlib.contextmanager
def answering(status: MirrorStatus, host: str, port: int) -> Iterator[int]:
    """Answers `/healthz` and the metrics' path for as long as the context lasts.

    Yields:
        the port; another than the one asked for only if that is 0.

    Raises:
        PipelineError: the port is taken.
    """

    try:
        server = _Server(status, host, port)
    except OSError as error:
        raise PipelineError(
            f"cannot listen on {host}, port {port}: {one_line(error)}; choose another with "
            "--port, 0 for any"
        ) from error
    threading.Thread(target=server.serve_forever, name="mirror-status", daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, status: MirrorStatus, host: str, port: int):
        self.status = status
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def handle_error(self, *_: object) -> None:
        pass  # a client that has gone


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = _HANDSHAKE_SECONDS
    server: _Server

    def do_GET(self) -> None:
        if self.path == HEALTH:
            healthy, facts = self.server.status.health()
            body = json.dumps(facts, ensure_ascii=False).encode() + b"\n"
            self._answer(200 if healthy else 503, "application/json", body)
        elif self.path == metrics.PATH:
            self._answer(200, metrics.CONTENT_TYPE, self.server.status.metrics())
        else:
            self._answer(404, "text/plain", f"{HEALTH}, {metrics.PATH}\n".encode())

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass  # anybody may ask, at any time
