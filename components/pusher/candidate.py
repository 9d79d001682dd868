"""A model of the Trainer as the candidate for a release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components import durable_files
from components.release_store import release
from components.trainer import exported


def is_release(model_uri: str, manifest: Mapping[str, Any]) -> bool:
    """Whether a release was made of this model: their files are the same.

    A release that was found by the id of its push may be of other models.
    """
    own = {
        f"{name}/{path}": digest
        for name, folder in exported.saved_models(model_uri).items()
        for path, digest in durable_files.digests(folder).items()
    }
    # The one file that is written anew for a release.
    rewritten = {f"{name}/{release.VERSION_ASSET}" for name in release.MODELS}
    released = manifest["files"]
    return own.keys() == released.keys() and all(
        digest == released[path] for path, digest in own.items() if path not in rewritten
    )
