"""Where a command writes that only reads a run root, which may be that of another user."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from components.errors import is_for_user


def or_temporary(path: Path) -> Path:
    """The file `path` where it can be written, else one of its name in a new temporary folder."""
    return path if _is_writable(path) else Path(tempfile.mkdtemp(prefix="vqvae-"), path.name)


@contextlib.contextmanager
def log(path: Path | None) -> Iterator[Path]:
    """The file `path` for a log; where it is None or cannot be written, a temporary one.

    That one stays, and is named on standard error, only after an error that needs a look at it.
    """
    if path is not None and _is_writable(path):
        yield path
        return
    temporary = Path(tempfile.mkdtemp(prefix="vqvae-"), "models.log")
    kept = False
    try:
        yield temporary
    except Exception as error:
        kept = not is_for_user(error) and temporary.is_file()
        if kept:
            click.echo(f"the log is {temporary}", err=True)
        raise
    finally:
        if not kept:
            shutil.rmtree(temporary.parent, ignore_errors=True)


def _is_writable(path: Path) -> bool:
    path = path.absolute()
    there = next(each for each in (path, *path.parents) if each.exists())
    return os.access(there, os.W_OK if there == path else os.W_OK | os.X_OK)
