"""One release: the SavedModels and the manifest that it consists of, wherever it is stored."""

from __future__ import annotations

import dataclasses
import datetime
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components import durable_files
from components.errors import PipelineError
from components.release_store import model_card
from models import exported

SERVED = exported.SERVED
MODELS = (*SERVED, "evaluate")

# Instead of a version, where one is asked for: the stable release, whichever that is then.
LATEST = -1

# A text file among a SavedModel's assets that holds the version it was released under.
VERSION_ASSET = "assets/release_version"


class StoreError(PipelineError):
    """The release store cannot do what was asked; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Release:
    """One release: its version, its manifest and where its SavedModels are."""

    store: Path
    version: int
    manifest: dict[str, Any]

    def path(self, model: str) -> Path:
        """Folder of a SavedModel, one of `MODELS`."""
        return self.store / model / str(self.version)

    @property
    def encode(self) -> Path:
        return self.path("encode")

    @property
    def decode(self) -> Path:
        return self.path("decode")

    @property
    def sample(self) -> Path:
        return self.path("sample")

    @property
    def evaluate(self) -> Path:
        return self.path("evaluate")


def stage(
    staging: Path,
    sources: Mapping[str, Path],
    facts: Mapping[str, Any],
    version: int,
    push_id: str,
    picture: Path | None,
) -> dict[str, Any]:
    """Writes all that a release consists of to a folder.

    These are `manifest`, `card`, a folder for each model and, where there is one, `picture`.

    Returns:
        the manifest.
    """
    for model, source in sources.items():
        durable_files.copy_tree(source, staging / model)
        asset = staging / model / VERSION_ASSET
        if asset.is_file():
            durable_files.write(asset, str(version))
    manifest = {
        "version": version,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "push_id": push_id,
        **facts,
        "files": durable_files.digests(staging),
    }
    if picture is not None:
        shutil.copyfile(picture, staging / "picture")
        manifest["picture_sha256"] = durable_files.digest(staging / "picture")
    durable_files.write(staging / "manifest", to_json(manifest))
    durable_files.write(staging / "card", model_card.render(manifest))
    return manifest


def to_json(value: Any) -> str:
    """The form of every JSON file of a store."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
