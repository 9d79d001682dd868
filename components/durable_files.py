"""Files that survive a crash: copies on disk before they are named, one writer at a time.

Every filesystem call of the release store that writes goes through here or through one
`os.rename`, so that another kind of storage has one file to replace.

What is not complete has one of two kinds of names: `beside` where it will be, for one file or
folder; or any name in the folder `UNFINISHED` of an output of many files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from components.errors import after

# Folder in an output of many files, for those that are not complete.
UNFINISHED = ".unfinished"


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Holds the lock file `path`; the kernel releases it when the process dies.

    Yields:
        Whether the lock is held: False only where `wait` is False and another holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                yield False
                return
            logging.getLogger(__name__).info("waiting for another writer, who holds %s", path)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield True
    finally:
        os.close(descriptor)


def copy_tree(source: Path, target: Path) -> None:
    """Copies the folder `source` to `target`, which must not exist; contents only, no modes."""
    for folder, _, names in os.walk(source):
        copy = target / Path(folder).relative_to(source)
        copy.mkdir()
        for name in names:
            shutil.copyfile(Path(folder, name), copy / name)


def write(path: Path, text: str) -> None:
    """Writes a new file, on disk when this returns; its name may not be (`sync_folder`)."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def move(source: Path, target: Path) -> None:
    """Renames within one filesystem, atomically, replacing a file; on disk when this returns."""
    source.rename(target)
    sync_folder(target.parent)


def replace(path: Path, text: str, scratch: Path) -> None:
    """Replaces a file atomically: a reader sees the old text or the new, at any instant.

    Args:
        path: the file.
        text: its new contents.
        scratch: folder on the same filesystem for the unfinished file.
    """
    unfinished = scratch / f"{path.name}.new"
    write(unfinished, text)
    move(unfinished, path)


def beside(path: Path, mark: str | None = None) -> Path:
    """A hidden name next to `path`, of what will be there; a new one each time without `mark`."""
    return path.with_name(f".{path.name}.partial-{mark or secrets.token_hex(4)}")


def attempt(unfinished: str | Path) -> str:
    """A new path in a folder `UNFINISHED`: work that runs twice at once writes to two of them."""
    return os.path.join(unfinished, uuid.uuid4().hex)


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yields a name beside `path` to write a file to; after the block the file is at `path`.

    A file that is there is replaced by a whole one, at one instant, or stays: where the block
    fails, nothing is left of the new one.
    """
    unfinished = beside(path)
    try:
        yield unfinished
        _sync(unfinished)
        move(unfinished, path)
    except BaseException as failure:
        with after(failure, f"{unfinished} is left"):
            unfinished.unlink(missing_ok=True)
        raise


def make_folder(path: Path) -> None:
    """Makes a folder and its parents where they are missing, on disk when this returns."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def empty_folder(path: Path) -> None:
    """Removes all that a folder holds."""
    for entry in list(path.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def sync_tree(root: Path) -> None:
    """Forces every file and folder below `root` to disk."""
    for folder, _, names in os.walk(root):
        for name in names:
            _sync(Path(folder, name))
        _sync(Path(folder))


def sync_folder(path: Path) -> None:
    """Forces the names in a folder (not the contents of its files) to disk."""
    _sync(path)


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of every file below `root`, by path relative to it, in order."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            found[path.relative_to(root).as_posix()] = digest(path)
    return dict(sorted(found.items()))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
