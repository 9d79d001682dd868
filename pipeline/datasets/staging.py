"""A folder that appears whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components import durable_files


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Yields a hidden folder beside `target` to write into; `publish` makes it the target.

    On the same file system as `target`, so that publishing is one rename. It is gone after the
    block, published or not. A process that was killed leaves its own behind; the next writer of
    the same target removes it. The lock tells the dead from the living: the kernel drops it with
    the process.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for stale in target.parent.glob(glob.escape(durable_files.beside(target, "*").name[:-1]) + "*"):
        _remove_if_abandoned(stale)
    folder, lock = _create(target)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def publish(folder: Path, target: Path) -> bool:
    """Renames `folder` to `target` once all of it is on disk.

    Returns:
        False when something is at `target` already, which is left as it is. An empty folder
        counts as nothing.
    """
    durable_files.sync_tree(folder)
    try:
        os.rename(folder, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    durable_files.sync_folder(target.parent)
    return True


def _create(target: Path) -> tuple[Path, int]:
    while True:
        folder = durable_files.beside(target)
        folder.mkdir()
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # another writer took it for abandoned before it was locked
            continue
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return folder, lock
        os.close(lock)


def _remove_if_abandoned(folder: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        # Raises where a living process has the lock, and where the file system knows no locks.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return
    finally:
        os.close(lock)
