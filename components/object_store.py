"""Folders of an object store by URI: `s3://`, `minio://`, `gs://`, and what fsspec knows besides.

Credentials and endpoints come from where the stores' own libraries look for them: the variables
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL (MinIO, SeaweedFS and others that
speak S3), files in HOME, or the service account of the pod. None is ever an argument here.

`minio://` is what Kubeflow Pipelines calls an S3 bucket in its own MinIO or SeaweedFS.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec

from components.errors import PipelineError, one_line

_SAME_AS_S3 = ("minio://", "s3a://")
# What a disk of this machine says when no more goes on it.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")


def is_remote(location: str | os.PathLike) -> bool:
    """Whether a location is a URI of an object store, not a path of a mounted file system."""
    return "://" in str(location)


class Folder:
    """One folder of an object store. Paths are relative to it.

    Args:
        uri: such as `s3://bucket/serving`.

    Raises (every method):
        PipelineError: the store cannot be reached, or refuses; one line without credentials.
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
        return sorted(
            {path.rstrip("/").rsplit("/", 1)[-1] for path in found if path.rstrip("/") != here}
        )

    def find(self, folder: str = "") -> dict[str, float]:
        """Path -> time of change (seconds since 1970) of every file below `folder`."""
        with self._errors("list", folder):
            found = self._files.find(self._path(folder), detail=True)
        base = self._base.rstrip("/") + "/"
        return {path.removeprefix(base): _changed(facts) for path, facts in sorted(found.items())}

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
        with self._errors("write", path):
            try:
                self._files.pipe_file(self._path(path), data, mode="create")
            except FileExistsError:
                return False
        return True

    def download(self, paths: list[str], target: Path) -> None:
        """Copies files to the folder `target`, below which they keep their paths."""
        places = [target / path for path in paths]
        for place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
        with self._errors("read", paths[0] if paths else ""):
            self._files.get([self._path(path) for path in paths], [str(p) for p in places])

    def upload(self, source: Path, folder: str = "") -> None:
        """Copies every file below the folder `source` to `folder`."""
        paths = sorted(path for path in source.rglob("*") if path.is_file())
        names = ["/".join((folder, path.relative_to(source).as_posix())) for path in paths]
        self.put(dict(zip(names, paths, strict=True)))

    def put(self, files: dict[str, Path]) -> None:
        """Copies files, by path in the store; all of them are there when this returns."""
        if not files:
            return
        with self._errors("write", next(iter(files))):
            self._files.put(
                [str(path) for path in files.values()], [self._path(name) for name in files]
            )

    def delete(self, paths: list[str]) -> None:
        """Removes files; those that are gone already are no error."""
        for path in paths:
            with self._errors("delete", path), contextlib.suppress(FileNotFoundError):
                self._files.rm_file(self._path(path))

    def _path(self, path: str) -> str:
        return f"{self._base}/{path.strip('/')}".rstrip("/")

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
