"""Artifacts by URI and where Kubeflow's launcher keeps them while a task runs.

The launcher copies an artifact `s3://bucket/key` to `/s3/bucket/key` before the task, and what
the task wrote there back to the URI afterwards. It has such a folder for `gs://`, `s3://` and
`minio://`. TFX opens local files only, so tasks work on the folders and report the URIs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from components.errors import PipelineError

_MOUNTS = {"gs": "gcs", "s3": "s3", "minio": "minio"}
# Where the folders are; `/` in a pod. Elsewhere only for a launcher that cannot write there.
_ROOT_VARIABLE = "VQVAE_MOUNT_ROOT"


def local_path(uri: str) -> str:
    """The folder of an artifact in the container; a path stays what it is.

    Raises:
        PipelineError: a kind of URI that the launcher does not copy.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    if scheme not in _MOUNTS:
        raise PipelineError(
            f"artifact {uri}: Kubeflow's launcher copies {', '.join(f'{s}://' for s in _MOUNTS)} "
            "only; choose a pipeline root of one of these kinds"
        )
    return os.path.join(os.environ.get(_ROOT_VARIABLE, "/"), _MOUNTS[scheme], rest)


class ArtifactUris:
    """The URIs of a task's own artifacts, to be put back wherever their folders are named.

    Args:
        places: folder -> URI.
    """

    def __init__(self, places: Mapping[str, str]):
        known = {path: uri for path, uri in places.items() if "://" in uri}
        # Longer ones first: one folder may be the beginning of another's name.
        self._known = sorted(known.items(), key=lambda item: -len(item[0]))

    def restored(self, value: Any) -> Any:
        """`value` (text, or lists and dictionaries of it) with URIs in place of folders."""
        if isinstance(value, str):
            for path, uri in self._known:
                value = value.replace(path, uri)
            return value
        if isinstance(value, list):
            return [self.restored(item) for item in value]
        if isinstance(value, dict):
            return {name: self.restored(item) for name, item in value.items()}
        return value
