"""The event files of a training, kept up to date at a place that outlives the process.

TensorBoard can read them there while the training runs, and a training that goes on after its
process was lost has its whole curve.
"""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

import tensorflow as tf

from components.errors import PipelineError, said
from components.object_store.folder import Folder, is_remote

LOGGER = logging.getLogger(__name__)

_EVERY = 30.0  # seconds between two copies
_FAILURES = (PipelineError, OSError, tf.errors.OpError)


class KeptLogs:
    """A copy of the local folder of a training's logs; a context that ends with the last copy.

    What cannot be copied is said in the log and tried again: a training needs no curves.

    Args:
        logs: folder that the training writes.
        kept: folder or URI of the copy; empty: none is kept.
        goes_on: whether this training continues an earlier one, whose logs are brought back to
            `logs`; otherwise what is there is of another training, and removed.
    """

    def __init__(self, logs: str, kept: str, goes_on: bool):
        self._logs = Path(logs)
        self._kept: Folder | Path | None = None
        self._there: dict[str, int] = {}  # sizes of what an object store has
        self._time = time.monotonic()
        if not kept:
            return
        try:
            self._kept = Folder(kept) if is_remote(kept) else Path(kept)
            self._bring_back() if goes_on else self._forget()
        except _FAILURES as error:
            LOGGER.warning("the logs of an earlier start stay in %s: %s", kept, said(error))

    def __enter__(self) -> KeptLogs:
        return self

    def __exit__(self, *_: object) -> None:
        self.keep(now=True)

    def keep(self, now: bool = False) -> None:
        """Copies what is new, if that was not done within the last half minute, or `now`."""
        if self._kept is None or (not now and time.monotonic() - self._time < _EVERY):
            return
        self._time = time.monotonic()
        try:
            tf.summary.flush()
            self._copy()
        except _FAILURES as error:
            LOGGER.warning("the logs cannot be kept in %s: %s", self._kept, said(error))

    def _copy(self) -> None:
        assert self._kept is not None
        sizes = {
            path.relative_to(self._logs).as_posix(): path.stat().st_size
            for path in self._logs.rglob("*")
            if path.is_file()
        }
        if isinstance(self._kept, Folder):
            new = {name: size for name, size in sizes.items() if self._there.get(name) != size}
            self._kept.put({name: self._logs / name for name in new})
            self._there |= new
            return
        for name in sizes:
            _append(self._logs / name, self._kept / name)

    def _bring_back(self) -> None:
        assert self._kept is not None
        if isinstance(self._kept, Folder):
            self._kept.download(list(self._kept.find()), self._logs)
        elif self._kept.is_dir():
            shutil.copytree(
                self._kept, self._logs, dirs_exist_ok=True, copy_function=shutil.copyfile
            )

    def _forget(self) -> None:
        assert self._kept is not None
        if isinstance(self._kept, Folder):
            self._kept.delete(list(self._kept.find()))
        else:
            shutil.rmtree(self._kept, ignore_errors=True)


def _append(source: Path, target: Path) -> None:
    """Brings a copy up to date: logs only grow, and a reader may have the copy open."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("ab") as copy, source.open("rb") as file:
        file.seek(copy.tell())
        shutil.copyfileobj(file, copy)
