"""Replacing an object only if it still is what was read: what each kind of object store has for it.

S3 compares the ETag (`If-Match`), Google Cloud Storage the generation. fsspec has a call for
neither: s3fs hands arguments on to the request, gcsfs makes requests with its own credentials.

A stamp names one state of an object. An ETag is most often the MD5 of the contents, so an object
that may go back to earlier contents needs something in it that never comes twice.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fsspec import AbstractFileSystem

from components.errors import PipelineError

# What S3 says of a condition that does not hold: of one on an object that is not there, too.
_REFUSALS = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
# A store in memory belongs to one process.
_memory = threading.Lock()


def replace(files: AbstractFileSystem, path: str, data: bytes, stamp: str | None) -> bool:
    """Writes an object whole if it is in the state `stamp`, or with None if there is none.

    Returns:
        whether it was written.

    Raises:
        PipelineError: this kind of store has no such write.
    """
    try:
        if stamp is None:
            files.pipe_file(path, data, mode="create")
            return True
        return _WRITES[_kind(files)](files, path, data, stamp)
    except FileExistsError:
        return False
    except OSError as error:
        response = getattr(error.__cause__, "response", None) or {}
        if response.get("Error", {}).get("Code") in _REFUSALS:
            return False
        raise


def never(files: AbstractFileSystem) -> str:
    """A stamp that no object has."""
    return {"s3": f'"{"0" * 32}"', "gs": "1", "memory": "never"}[_kind(files)]


def stamp(files: AbstractFileSystem, facts: Mapping[str, Any]) -> str:
    """The stamp of an object, from what a listing says of it; empty where the store has none."""
    name = {"s3": "ETag", "gs": "generation", "memory": "created"}.get(_protocol(files), "")
    return str(facts.get(name, ""))


def md5(files: AbstractFileSystem, facts: Mapping[str, Any]) -> str | None:
    """MD5 of an object in hexadecimal, where a listing tells it.

    An ETag of that form may be something else (under a key of KMS): equal to the MD5 of a file
    it proves that the contents are, unequal it proves nothing.
    """
    if (encoded := facts.get("md5Hash")) is not None:
        return base64.b64decode(encoded).hex()
    found = _MD5.fullmatch(stamp(files, facts)) if _protocol(files) == "s3" else None
    return found[1] if found else None


def _protocol(files: AbstractFileSystem) -> str:
    return files.protocol if isinstance(files.protocol, str) else files.protocol[0]


def _kind(files: AbstractFileSystem) -> str:
    protocol = _protocol(files)
    if protocol not in _WRITES:
        raise PipelineError(
            f"{protocol}://: releases cannot be kept there, as this kind of store replaces no "
            "file on the condition that it is unchanged; keep them in s3://, gs:// or a folder"
        )
    return protocol


def _s3(files: AbstractFileSystem, path: str, data: bytes, stamp: str) -> bool:
    files.pipe_file(path, data, IfMatch=stamp)
    return True


def _gcs(files: AbstractFileSystem, path: str, data: bytes, stamp: str) -> bool:
    bucket, key, _ = files.split_path(path)
    files.call(
        "POST",
        f"{files._location}/upload/storage/v1/b/{quote(bucket)}/o",
        uploadType="media",
        name=key,
        ifGenerationMatch=stamp,
        headers={"Content-Type": "application/octet-stream"},
        data=data,
        json_out=True,
    )
    return True


def _in_memory(files: AbstractFileSystem, path: str, data: bytes, expected: str) -> bool:
    with _memory:
        if not files.exists(path) or stamp(files, files.info(path)) != expected:
            return False
        files.pipe_file(path, data)
        return True


_WRITES = {"s3": _s3, "gs": _gcs, "memory": _in_memory}
