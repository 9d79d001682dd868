"""The connection of a client to a gRPC server."""

from __future__ import annotations

import json
from pathlib import Path

import grpc

from components.errors import PipelineError
from pipeline.inference.local_addresses import is_local

# Of a request's metadata: the client reads `tensor_content`, and wants numbers there. `vqvae
# serve` sends them faster that way, and TensorFlow Serving does not look at it.
PACKED = ("vqvae-tensors", "packed")
# The server is busy, restarting or changing releases: a little later it may answer. Nothing else
# is tried again; after a missed deadline it would only be given more to do.
_RETRIES = {
    "maxAttempts": 5,  # the most that gRPC allows
    "initialBackoff": "0.2s",
    "maxBackoff": "5s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def connected(
    target: str, credentials: grpc.ChannelCredentials | None, max_bytes: int
) -> grpc.Channel:
    """A channel that repeats what it finds UNAVAILABLE, and takes messages of so many bytes."""
    config = {"methodConfig": [{"name": [{}], "retryPolicy": _RETRIES}]}
    options = [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.max_send_message_length", max_bytes),
        ("grpc.max_receive_message_length", max_bytes),
        # A larger message is not kept, and so is not sent again: 256 KiB by default.
        ("grpc.per_rpc_retry_buffer_size", max_bytes),
        # A server that restarts is found again within the repetitions of a call.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.enable_http_proxy", int(not is_local(target))),
    ]
    if credentials is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, credentials, options)


def credentials(
    tls: bool | str | Path, certificate: str | Path | None, key: str | Path | None
) -> grpc.ChannelCredentials | None:
    """Of a client, see `pipeline.inference.client.Client`; None without TLS.

    Raises:
        PipelineError: one of the files cannot be read, or one of two is missing.
    """
    if (certificate is None) != (key is None):
        raise PipelineError("tls_cert and tls_key go together; give both or neither")
    if tls is False and certificate is None:
        return None
    return grpc.ssl_channel_credentials(
        None if isinstance(tls, bool) else _read(tls),
        key and _read(key),
        certificate and _read(certificate),
    )


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}") from error
