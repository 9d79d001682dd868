"""What a request is answered that cannot be served: the codes of TensorFlow Serving."""

from __future__ import annotations

import grpc

# As TensorFlow Serving maps the statuses of its core to those of its REST API.
HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}

_LONGEST = 500


class RequestError(Exception):
    """A request that is refused or failed; `code` and `message` are what the client gets."""

    def __init__(self, code: grpc.StatusCode, message: str):
        # Parts of it may be the client's own words, and it is sent in a header.
        self.message = message if len(message) <= _LONGEST else f"{message[:_LONGEST]} …"
        super().__init__(self.message)
        self.code = code

    @property
    def http_status(self) -> int:
        return HTTP_STATUS.get(self.code, 500)


def invalid(message: str) -> RequestError:
    """A request that is wrong in itself, whatever the server's state."""
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)
