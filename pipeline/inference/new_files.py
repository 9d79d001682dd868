"""Files below a folder: all of them or none, and never over what is there."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from components import durable_files
from components.errors import PipelineError


def file_names(
    names: Iterable[str], suffix: str, replaced: Collection[str], unnamed: str
) -> list[PurePosixPath]:
    """Where what has these names is written: below any folder, and each its own file.

    Absolute names and `..` lead no higher; the second `a.png` becomes `a-2.png`.

    Args:
        names: of images or recordings.
        suffix: of the files.
        replaced: suffixes, in lower case, in whose place it comes; it follows others.
        unnamed: for names of which nothing is left.
    """
    taken: set[PurePosixPath] = set()
    found = []
    for name in names:
        parts = name.replace("\\", "/").replace("\0", "_").split("/")
        parts = [part for part in parts if part not in ("", ".", "..")] or [unnamed]
        path = PurePosixPath(*parts)
        if path.suffix.lower() in replaced:
            path = path.with_suffix("")
        first, number = path, 1
        while (file := path.with_name(path.name + suffix)) in taken:
            number += 1
            path = first.with_name(f"{first.name}-{number}")
        taken.add(file)
        found.append(file)
    return found


@contextlib.contextmanager
def new_files(out: Path, names: Sequence[PurePosixPath | str]) -> Iterator[Path]:
    """Yields a folder to write files of these names to; they appear in `out` after the block.

    If the block raises, or something is in the way, `out` is as it was.

    Raises:
        PipelineError: one of the files is there already, or `out` cannot be written.
    """
    made = not out.exists()
    try:
        unfinished = out / f"{durable_files.UNFINISHED}-{secrets.token_hex(4)}"
        unfinished.mkdir(parents=True)
        try:
            _check_free(out, names)
            yield unfinished
            for name in names:
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                os.rename(unfinished / name, out / name)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
            if made:
                with contextlib.suppress(OSError):  # it holds files: all went well
                    out.rmdir()
    except OSError as error:
        raise PipelineError(f"{out}: cannot be written: {error.strerror or error}") from error


def _check_free(out: Path, names: Sequence[PurePosixPath | str]) -> None:
    inside = out.resolve()
    for name in names:
        path = out / name
        if os.path.lexists(path):
            raise PipelineError(f"{path}: is there already; name a new folder")
        if not path.parent.resolve().is_relative_to(inside):
            raise PipelineError(f"{path}: a link leads out of {out}; name a new folder")
