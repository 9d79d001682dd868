"""Folders of an object store by URI: `s3://`, `minio://`, `gs://`, and what fsspec knows besides.

Credentials and endpoints come from where the stores' own libraries look for them: the variables
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL (MinIO, SeaweedFS and others that
speak S3), files in HOME, or the service account of the pod. None is ever an argument here.

`minio://` is what Kubeflow Pipelines calls an S3 bucket in its own MinIO or SeaweedFS.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec

from components.errors import PipelineError, one_line
from components.object_store import conditional_writes

_SAME_AS_S3 = ("minio://", "s3a://")
# What a disk of this machine says when no more goes on it.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")


def is_remote(location: str | os.PathLike) -> bool:
    """Whether a location is a URI of an object store, not a path of a mounted file system."""
    return "://" in str(location)


@dataclasses.dataclass(frozen=True)
class Stamped:
    """Contents of a file, and the stamp by which `Folder.replace` knows them."""

    data: bytes
    stamp: str


class Folder:
    """One folder of an object store. Paths are relative to it.

    The name of an object is any text that someone chose. One is taken for a path only if it is
    one below this folder: nothing is ever read, written or copied outside of it.

    Args:
        uri: such as `s3://bucket/serving`.

    Raises (every method):
        PipelineError: the store cannot be reached, or refuses, or holds an object whose name is
            no path below the folder; one line without credentials.
    """

    def __init__(self, uri: str):
        self.uri = uri.rstrip("/")
        scheme, _, rest = self.uri.partition("://")
        for alias in _SAME_AS_S3:
            if self.uri.startswith(alias):
                scheme = "s3"
        if not rest:
            raise PipelineError(f"{uri}: names no bucket; a URI looks like s3://bucket/folder")
        self._root = f"{scheme}://{rest}"
        with self._errors("open", ""):
            # Other processes write too: no listing is believed twice, no connection shared
            # with a process that was forked.
            options = {"use_listings_cache": False, "skip_instance_cache": True}
            self._files, self._base = fsspec.url_to_fs(self._root, **options)

    def names(self, folder: str = "") -> list[str]:
        """Names directly in `folder`, files and folders; empty where there is no such folder."""
        with self._errors("list", folder):
            try:
                found = self._files.ls(self._path(folder), detail=False)
            except FileNotFoundError:
                return []
        here = self._path(folder).rstrip("/")
        names = {path.rstrip("/").rsplit("/", 1)[-1] for path in found if path.rstrip("/") != here}
        return [self._checked(name) for name in sorted(names)]

    def find(self, folder: str = "") -> dict[str, float]:
        """Path -> time of change (seconds since 1970) of every file below `folder`."""
        return {path: _changed(facts) for path, facts in self._listed(folder).items()}

    def read(self, path: str) -> bytes | None:
        """The contents of a file; None where there is none."""
        with self._errors("read", path):
            try:
                return self._files.cat_file(self._path(path))
            except FileNotFoundError:
                return None

    def write(self, path: str, data: bytes) -> None:
        """Replaces a file whole: a reader gets the old contents or the new."""
        with self._errors("write", path):
            self._files.pipe_file(self._path(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Writes a file unless there is one, atomically; False where there is."""
        return self.replace(path, data, None)

    def read_stamped(self, path: str) -> Stamped | None:
        """The contents of a file, for `replace`; None where there is none."""
        with self._errors("read", path):
            try:
                # Not one request: of contents that are newer than the stamp, `replace` fails.
                facts = self._files.info(self._path(path))
                data = self._files.cat_file(self._path(path))
            except FileNotFoundError:
                return None
        return Stamped(data, conditional_writes.stamp(self._files, facts))

    def replace(self, path: str, data: bytes, stamp: str | None) -> bool:
        """Writes a file whole if nobody did since it was read, atomically.

        Args:
            path: the file.
            data: its new contents.
            stamp: `read_stamped`'s; None if there was no file.

        Returns:
            whether it was written. False may also be said of a write that was made, where its
            answer was lost and the request repeated.
        """
        with self._errors("write", path):
            return conditional_writes.replace(self._files, self._path(path), data, stamp)

    def require_conditions(self, path: str) -> None:
        """Refuses a store that writes in spite of a condition that does not hold.

        Args:
            path: of a file that does not exist.
        """
        with self._errors("write", path):
            never = conditional_writes.never(self._files)
        if self.replace(path, b"", never):
            self.delete([path])
            raise PipelineError(
                f"object store: {self.uri}: it ignores conditions on writes (If-Match), so writers "
                "would undo each other's releases; use one that has them: AWS S3, a recent MinIO "
                "or SeaweedFS, gs://, or a folder"
            )

    def download(self, paths: list[str], target: Path) -> None:
        """Copies files to the folder `target`, below which they keep their paths."""
        sources = [self._path(path) for path in paths]
        places = [target / path for path in paths]
        with self._errors("copy", paths[0] if paths else ""):
            for place in places:
                place.parent.mkdir(parents=True, exist_ok=True)
            self._files.get(sources, [str(place) for place in places])

    def upload(self, source: Path, folder: str = "", replace: bool = True) -> None:
        """Copies every file below the folder `source` to `folder`, as `put` does."""
        self.put(_below(source, folder), replace)

    def put(self, files: dict[str, Path], replace: bool = True) -> None:
        """Copies files, by path in the store; all of them are there when this returns.

        Args:
            files: path in the store -> the file to copy.
            replace: whether what is there already is written again; otherwise it stays.
        """
        if not files:
            return
        pairs = [(str(path), self._path(name)) for name, path in files.items()]
        with self._errors("write", next(iter(files))):
            if replace:
                self._files.put(*map(list, zip(*pairs, strict=True)))
                return
            try:
                self._files.put(*map(list, zip(*pairs, strict=True)), mode="create")
            except FileExistsError:
                for local, remote in pairs:
                    with contextlib.suppress(FileExistsError):
                        self._files.put_file(local, remote, mode="create")

    def differing(self, source: Path, folder: str, known: dict[str, str]) -> list[str]:
        """Which files below the local folder `source` are not in `folder`, or are others there.

        Sizes and hashes come from the listing where the store keeps MD5; else a file is read.

        Args:
            source: local folder.
            folder: its copy.
            known: path -> stamp of what is known to be the same, and need not be read again;
                what is found to be goes into it.

        Returns:
            their paths in the store.
        """
        found = self._listed(folder)
        paths = []
        for name, path in _below(source, folder).items():
            facts = found.get(name)
            stamp = conditional_writes.stamp(self._files, facts) if facts else ""
            if stamp and known.get(name) == stamp:
                continue
            if facts and facts["size"] == path.stat().st_size and self._same(name, facts, path):
                known[name] = stamp
            else:
                paths.append(name)
        return paths

    def delete(self, paths: list[str]) -> None:
        """Removes files; those that are gone already are no error."""
        for path in paths:
            with self._errors("delete", path), contextlib.suppress(FileNotFoundError):
                self._files.rm_file(self._path(path))

    def _listed(self, folder: str) -> dict[str, dict[str, Any]]:
        """Path -> what the store says of it, for every file below `folder`."""
        with self._errors("list", folder):
            found = self._files.find(self._path(folder), detail=True)
        base = self._base.rstrip("/") + "/"
        return {
            self._checked(path.removeprefix(base)): facts
            for path, facts in sorted(found.items())
            # What a browser of buckets leaves to show an empty folder.
            if not (path.endswith("/") and facts["size"] == 0)
        }

    def _same(self, name: str, facts: dict[str, Any], path: Path) -> bool:
        """Whether a file of the store has the contents of a local one of its size."""
        with path.open("rb") as local:
            if conditional_writes.md5(self._files, facts) == _digest(local, "md5"):
                return True
            local.seek(0)
            expected = _digest(local, "sha256")
        with self._errors("read", name), self._files.open(self._path(name), "rb") as remote:
            return _digest(remote, "sha256") == expected

    def _path(self, path: str) -> str:
        return f"{self._base}/{self._checked(path)}".rstrip("/") if path else self._base.rstrip("/")

    def _checked(self, path: str) -> str:
        """`path`, if it names one place below the folder, here and on any file system."""
        if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
            raise PipelineError(
                f"object store: {self.uri}: {path!r} is the name of an object there but no path "
                "below that folder; remove or rename the object, and find out who wrote it"
            )
        return path

    @contextlib.contextmanager
    def _errors(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except (PipelineError, KeyboardInterrupt):
            raise
        except Exception as error:
            where = f"{self.uri}/{path}".rstrip("/")
            # Not chained: the text of the libraries' errors may quote a signed request.
            raise PipelineError(
                f"object store: cannot {verb} {where} ({_without_secrets(one_line(error))}); "
                f"{_mend(error)}"
            ) from None


def _below(source: Path, folder: str) -> dict[str, Path]:
    """Path below `folder` -> every file below the local folder `source`."""
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    prefix = f"{folder}/" if folder else ""
    return {prefix + path.relative_to(source).as_posix(): path for path in paths}


def _digest(file: Any, algorithm: str) -> str:
    # Of the stores' files fsspec's own are no buffers, which hashlib.file_digest asks for.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _changed(facts: dict) -> float:
    for name in ("LastModified", "mtime", "updated", "created"):
        when = facts.get(name)
        if when is not None:
            return when.timestamp() if hasattr(when, "timestamp") else float(when)
    return 0.0


def _mend(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in _FULL:
        return "make room on this machine's disk"
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        return (
            "give the process credentials for it: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in "
            "the environment, or a service account that may use the bucket"
        )
    if isinstance(error, FileNotFoundError):
        return "check the name of the bucket and the path"
    return "check the address (AWS_ENDPOINT_URL, if set) and the network, and run it again"


def _without_secrets(text: str) -> str:
    for name in _SECRETS:
        if value := os.environ.get(name):
            text = text.replace(value, "***")
    return text
