"""A model of the Trainer as the candidate for a release."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tfx.utils import path_utils

from components import durable_files
from components.release_store import release


def exported(model_uri: str) -> str:
    """Folder of what the Trainer leaves for a release, below its model's."""
    return os.path.join(model_uri, "release")


def models(model_uri: str) -> dict[str, str]:
    """Folder of the SavedModel for each of `release.MODELS`."""
    folders = {name: os.path.join(exported(model_uri), name) for name in release.SERVED}
    return {**folders, "evaluate": path_utils.serving_model_path(model_uri)}


def is_release(model_uri: str, manifest: Mapping[str, Any]) -> bool:
    """Whether a release was made of this model: their files are the same.

    A release that was found by the id of its push may be of other models.
    """
    own = {
        f"{name}/{path}": digest
        for name, folder in models(model_uri).items()
        for path, digest in durable_files.digests(folder).items()
    }
    # The one file that is written anew for a release.
    rewritten = {f"{name}/{release.VERSION_ASSET}" for name in release.MODELS}
    released = manifest["files"]
    return own.keys() == released.keys() and all(
        digest == released[path] for path, digest in own.items() if path not in rewritten
    )
