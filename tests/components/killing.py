"""Work that is killed before each of its accesses to the file system, and to an object store."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from components.object_store import Folder

_REQUEST = "test.request"
_ACCESSES = {
    "open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.scandir", "os.utime",
    "fcntl.flock", _REQUEST,
}  # fmt: skip


def killed_at_every_step(
    tmp_path: Path, folder: Path, act: Callable[[Path], object], check: Callable[[Path], None]
) -> int:
    """Kills `act` at every step, each time on a copy of `folder`, and checks what it left.

    Returns:
        how many steps it has.
    """
    for step in itertools.count():
        copy = tmp_path / f"{folder.name}-{step}"
        shutil.copytree(folder, copy)
        # A fork costs no new interpreter, and has imported all, which would count as accesses.
        process = os.fork()
        if process == 0:
            try:
                _die_before(step)
                act(copy)
            except BaseException:
                os._exit(1)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert code in (0, -signal.SIGKILL)
        check(copy)
        shutil.rmtree(copy)
        if code == 0:
            return step


def _die_before(step: int) -> None:
    left = step

    def count(event: str, _: tuple) -> None:
        nonlocal left
        if event in _ACCESSES:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    for name in ("names", "find", "read", "download"):
        setattr(Folder, name, _audited(getattr(Folder, name)))


def _audited(method: Callable) -> Callable:
    def request(*args: object) -> object:
        sys.audit(_REQUEST)
        return method(*args)

    return request
