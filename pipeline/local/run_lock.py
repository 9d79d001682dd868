"""One writer at a time in a run root: a second is told who the first is.

Readers (`vqvae report`, `encode`, `serve`, `releases`) need no lock: what they read is replaced
whole.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from components import durable_files
from components.errors import PipelineError


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the lock file `path`, whose folder is made where it is missing.

    The kernel gives the lock up when the process ends, however that comes about. The file stays;
    in it is who has held the lock last. On NFS the lock counts on all machines that mount the
    folder.

    Raises:
        PipelineError: another process holds it, or the folder cannot be written or locked.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            ours = stack.enter_context(durable_files.locked(path, wait=False))
        except OSError as error:
            raise PipelineError(
                f"{path.parent} cannot be used for a run: {path.name}: {error.strerror or error}; "
                "name a folder that you may write to, on a file system that has locks"
            ) from error
        if not ours:
            raise PipelineError(
                f"{path.parent} is in use by {_holder(path)}; wait until it ends, or name another "
                "folder"
            )
        with contextlib.suppress(OSError):  # a full disk: the lock counts all the same
            path.write_text(_this_process(), encoding="utf-8", errors="backslashreplace")
        yield


def _this_process() -> str:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    return f"process {os.getpid()} on {socket.gethostname()}, since {now}: {command}\n"


def _holder(path: Path) -> str:
    """What the other process has written; it may not have done so yet."""
    try:
        said = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        said = ""
    return " ".join(said.split()) or "another process"
