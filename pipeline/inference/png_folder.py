"""PNG files below a folder: all of them or none, and never over what is there."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from components import durable_files
from components.errors import PipelineError


def png_names(names: Iterable[str]) -> list[PurePosixPath]:
    """Where the images of these names are written: below any folder, and each its own file.

    Absolute names and `..` lead no higher; the second `a.png` becomes `a-2.png`.
    """
    suffixes = Image.registered_extensions()
    taken: set[PurePosixPath] = set()
    found = []
    for name in names:
        parts = name.replace("\\", "/").replace("\0", "_").split("/")
        parts = [part for part in parts if part not in ("", ".", "..")] or ["image"]
        path = PurePosixPath(*parts)
        if path.suffix.lower() in suffixes:
            path = path.with_suffix("")
        first, number = path, 1
        while (png := path.with_name(path.name + ".png")) in taken:
            number += 1
            path = first.with_name(f"{first.name}-{number}")
        taken.add(png)
        found.append(png)
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


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes an image uint8 [H, W, C], C = 1 or 3, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)


def _check_free(out: Path, names: Sequence[PurePosixPath | str]) -> None:
    inside = out.resolve()
    for name in names:
        path = out / name
        if os.path.lexists(path):
            raise PipelineError(f"{path}: is there already; name a new folder")
        if not path.parent.resolve().is_relative_to(inside):
            raise PipelineError(f"{path}: a link leads out of {out}; name a new folder")
