"""The images, or the recordings, among files and folders, whatever their names and their format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from components.errors import PipelineError, UserError
from pipeline.datasets.folder import files_below

_SHOWN = 5  # files that a message names

# A file's bytes and its name to what is encoded.
Read = Callable[[bytes, str], bytes]


class UnusableFile(Exception):
    """A file that cannot be encoded; the message says why.

    Attributes:
        left_out: of a folder, as other files of no use are; else it ends the reading.
    """

    def __init__(self, reason: str, left_out: bool = True):
        super().__init__(reason)
        self.left_out = left_out


class LeftOut(NamedTuple):
    """A file of a folder that cannot be used."""

    path: Path
    reason: str


class FoundFiles:
    """Reads files that a user names, and all files below folders.

    Attributes:
        total: files that there may be; goes down with every one that is of no use.
        paths: of the files that have been read.
        left_out: the files of folders that are of no use.
        failure: what ended the reading. All files before it have been read.
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
        self.left_out: list[LeftOut] = []
        self.failure: UserError | None = None

    def read(self, read: Read, thing: str) -> Iterator[bytes]:
        """Yields what `read` makes of every file, in the order of the sources, sorted in each.

        Ends with a `failure` at a file that cannot be opened, at one that the user names and that
        `read` refuses, at one that it will not have left out, and behind a folder without any.

        Args:
            read: raises `UnusableFile`.
            thing: what the files are: `image`.
        """
        try:
            for source, files in self._sources:
                if files is None:
                    yield self._read_named(source, read)
                else:
                    yield from self._read_folder(source, files, read, thing)
        except UserError as error:
            self.failure = error

    def names(self) -> list[str]:
        """Of the files, relative to the deepest folder that they all lie in, `/` between."""
        real = [os.path.abspath(path) for path in self.paths]
        base = os.path.commonpath([os.path.dirname(path) for path in real])
        return [Path(path).relative_to(base).as_posix() for path in real]

    def _read_named(self, path: Path, read: Read) -> bytes:
        try:
            return self._read(path, read)
        except UnusableFile as error:
            raise PipelineError(f"{path}: {error}") from error

    def _read_folder(
        self, folder: Path, files: Sequence[Path], read: Read, thing: str
    ) -> Iterator[bytes]:
        before = len(self.paths)
        for path in files:
            try:
                if not path.is_file():  # a pipe would be waited for
                    raise UnusableFile("not a file")
                made = self._read(path, read)
            except UnusableFile as error:
                if not error.left_out:
                    raise PipelineError(f"{path}: {error}") from error
                self.left_out.append(LeftOut(path, str(error)))
                self.total -= 1
                continue
            yield made
        if len(self.paths) == before:
            raise PipelineError(
                f"{folder}: holds no {thing}" + (f"; {listed(self.left_out)}" if files else "")
            )

    def _read(self, path: Path, read: Read) -> bytes:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise PipelineError(f"{path}: {error.strerror}") from error
        made = read(data, path.name)
        self.paths.append(path)
        return made


def listed(left_out: Sequence[LeftOut]) -> str:
    """In one line how many files were left out, and the first of them with the reasons."""
    count = len(left_out)
    names = ", ".join(f"{path} ({reason})" for path, reason in left_out[:_SHOWN])
    more = ", …" if count > _SHOWN else ""
    return f"left out {count:,} file{'s' * (count != 1)}: {names}{more}"
