"""The line for the user in what an engine says of a failed job."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from components.errors import PipelineError, UserError, is_for_user

# The last line of a traceback, with what Beam adds to it.
_RAISED = re.compile(
    rf"^(?:[\w.]*\.)?(?:{UserError.__name__}|{PipelineError.__name__}): (?P<message>.+?)"
    r"(?: \[while running '[^']*'\])?$",
    re.MULTILINE,
)
# The pool's answer to an engine that asks for a worker; all engines pass it on.
_REFUSED = re.compile(r"(?:Error starting worker: |RuntimeException: )(the (?:worker|job|pool) .+)")
# What engines say when the connection to a worker breaks.
_LOST = re.compile(
    r"Channel closed prematurely|client disconnected|Socket closed|(CANCELLED|UNAVAILABLE): "
)
# Deepest cause in a stack trace of Java, and the last line of a traceback of Python.
_CAUSED = re.compile(r"^Caused by: (.+)$", re.MULTILINE)
_TRACEBACK = "Traceback (most recent call last)"


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Makes what an engine says of a failed job the error that a worker, or their pool, has said.

    Args:
        name: of what runs the job, for a message of ours.

    Raises:
        PipelineError: that error.
        RuntimeError: of any other error that a worker has sent as a text, what it ends with.
    """
    try:
        yield
    except Exception as error:
        text = str(error)
        if is_for_user(error):
            raise
        if message := _message(text, name):
            raise PipelineError(message) from error
        if cause := _cause(text):
            raise RuntimeError(f"{name}: {cause}") from error
        raise


def _message(text: str, name: str) -> str:
    for pattern in (_RAISED, _REFUSED):
        if found := pattern.findall(text):
            return found[-1].strip()
    if _LOST.search(text):
        return (
            f"{name}: a worker ended in the middle of its work, as one does that has no memory "
            "left; the log of `vqvae beam-worker` says how; run it again"
        )
    return ""


def _cause(text: str) -> str:
    if causes := _CAUSED.findall(text):
        return causes[-1].strip()
    return text.strip().splitlines()[-1].strip() if _TRACEBACK in text else ""
