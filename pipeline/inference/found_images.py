"""The images among files and folders, whatever their names and their format."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from components.errors import PipelineError, UserError
from pipeline.datasets import image_file
from pipeline.datasets.folder import files_below

_SHOWN = 5  # files that a message names


class NotAnImage(NamedTuple):
    """A file of a folder that is no image."""

    path: Path
    reason: str


class FoundImages:
    """Reads files that a user names, and all files below folders.

    Attributes:
        total: images that there may be; goes down with every file that is none.
        paths: of the images that have been read.
        left_out: the files of folders that are no images.
        failure: what ended the reading. All images before it have been read.
    """

    def __init__(self, sources: Sequence[Path]):
        """Lists the folders.

        Raises:
            UserError: one of them cannot be listed.
        """
        self._sources = [
            (source, list(files_below(source)) if source.is_dir() else None) for source in sources
        ]
        self.total = sum(1 if files is None else len(files) for _, files in self._sources)
        self.paths: list[Path] = []
        self.left_out: list[NotAnImage] = []
        self.failure: UserError | None = None

    def read(self) -> Iterator[bytes]:
        """Yields every image as PNG or JPEG, in the order of the sources, sorted in each.

        Ends with a `failure` at a file that cannot be read, at one that the user names and that
        is no image, at an image that cannot be converted, and behind a folder without any.
        """
        try:
            for source, files in self._sources:
                if files is None:
                    yield self._read_named(source)
                else:
                    yield from self._read_folder(source, files)
        except UserError as error:
            self.failure = error

    def names(self) -> list[str]:
        """Of the images, relative to the deepest folder that they all lie in, `/` between."""
        real = [os.path.abspath(path) for path in self.paths]
        base = os.path.commonpath([os.path.dirname(path) for path in real])
        return [Path(path).relative_to(base).as_posix() for path in real]

    def _read_named(self, path: Path) -> bytes:
        try:
            return self._read(path)
        except image_file.UnusableImage as error:
            raise PipelineError(f"{path}: {error}") from error

    def _read_folder(self, folder: Path, files: Sequence[Path]) -> Iterator[bytes]:
        before = len(self.paths)
        for path in files:
            try:
                if not path.is_file():  # a pipe would be waited for
                    raise image_file.UnusableImage("not a file")
                image = self._read(path)
            except image_file.UnusableImage as error:
                self.left_out.append(NotAnImage(path, str(error)))
                self.total -= 1
                continue
            yield image
        if len(self.paths) == before:
            raise PipelineError(
                f"{folder}: holds no image" + (f"; {listed(self.left_out)}" if files else "")
            )

    def _read(self, path: Path) -> bytes:
        try:
            image = image_file.png_or_jpeg(path.read_bytes())
        except OSError as error:
            raise PipelineError(f"{path}: {error.strerror}") from error
        except image_file.UnknownRange as error:
            raise PipelineError(f"{path}: {error}") from error
        self.paths.append(path)
        return image


def listed(left_out: Sequence[NotAnImage]) -> str:
    """In one line how many files were left out, and the first of them with the reasons."""
    count = len(left_out)
    names = ", ".join(f"{path} ({reason})" for path, reason in left_out[:_SHOWN])
    more = ", …" if count > _SHOWN else ""
    return f"left out {count:,} file{'s' * (count != 1)}: {names}{more}"
