"""Payloads of a data root that nobody uses any more."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from components.errors import PipelineError
from kubeflow.container.payloads import FOLDER


@dataclasses.dataclass(frozen=True)
class Attempt:
    """The payloads of one try of a task.

    Attributes:
        path: their folder.
        used: when they were last written, or read by a task; seconds since 1970.
        size: bytes.
    """

    path: Path
    used: float
    size: int


def attempts(root: Path) -> Iterator[Attempt]:
    """All that are there.

    Raises:
        PipelineError: this is no data root.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        raise PipelineError(f"{root} holds no folder {FOLDER!r}; is it the path of data_root?")
    # RUN/COMPONENT/ATTEMPT
    for path in sorted(folder.glob("*/*/*")):
        if path.is_dir() and not path.is_symlink():
            yield _look(path)


def remove(attempt: Attempt) -> None:
    """Removes an attempt, and the folders of its run that are empty then."""
    # Away at once for whoever looks: half a payload is never to be read.
    gone = attempt.path.with_name(f".{attempt.path.name}.removed")
    attempt.path.rename(gone)
    shutil.rmtree(gone)
    with contextlib.suppress(OSError):  # not empty
        for folder in list(attempt.path.parents)[:2]:
            folder.rmdir()


def _look(path: Path) -> Attempt:
    used, size = path.stat().st_mtime, 0
    for folder, names, files in os.walk(path):
        for name in (*names, *files):
            with contextlib.suppress(FileNotFoundError):
                facts = os.lstat(os.path.join(folder, name))
                used = max(used, facts.st_mtime)
                size += facts.st_size if name in files else 0
    return Attempt(path, used, size)
