"""Paths as users write them: `~` is their home folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any

import click

from components.object_store.folder import is_remote

# Set by `lend_home`; goes with the process.
_lent_home: tempfile.TemporaryDirectory[str] | None = None


def lend_home() -> None:
    """Gives libraries that ask for the home folder a temporary one, if the user has none.

    So it is for a user whom the system does not know, as in a container, with HOME unset.
    When the temporary folder has become another, a second call moves it there.
    """
    global _lent_home
    if _lent_home is not None:
        _lent_home.cleanup()
    elif os.path.expanduser("~") != "~":
        return
    with contextlib.suppress(OSError):  # whoever has to write here says that it cannot
        _lent_home = tempfile.TemporaryDirectory(prefix="vqvae-home-")
        os.environ["HOME"] = _lent_home.name


def expanded(path: str) -> str:
    """A path, or the URI of an object store, with `~` in its place.

    Raises:
        ValueError: it begins with `~/`, and no home folder is known.
    """
    if is_remote(path):
        return path
    found = os.path.expanduser(path)
    if path.split("/")[0] == "~" and (found == path or _lent_home is not None):
        raise ValueError("~ is not known: set HOME, or write the path out; for a name, write ./~")
    return found


class UserPath(click.Path):
    """click's path with `~` in its place."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_expanded(self, value, param, ctx), param, ctx)


class StoreAddress(click.ParamType):
    """A folder, with `~` in its place, or the URI of an object store; stays text."""

    name = "directory|uri"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return _expanded(self, value, param, ctx)


def _expanded(kind: click.ParamType, value: Any, param: Any, ctx: Any) -> str:
    try:
        return expanded(os.fsdecode(value))
    except ValueError as error:
        kind.fail(f"{value}: {error}", param, ctx)
