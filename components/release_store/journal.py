"""Turns of writing to a release store in a folder, and what one that was killed left behind."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components import durable_files
from components.errors import after
from components.release_store import models_config
from components.release_store.release import MODELS, StoreError, to_json
from components.release_store.rollout import Served


@contextlib.contextmanager
def writing(root: Path, wait: bool = True) -> Iterator[Path]:
    """Makes this the only writer, on a store without remains; yields the staging folder."""
    hidden = root / ".store"
    staging = hidden / "staging"
    try:
        durable_files.make_folder(staging)
        with durable_files.locked(hidden / "lock", wait) as held:
            if not held:
                yield staging
                return
            recover(root, staging)
            try:
                yield staging
            except BaseException as failure:
                with after(failure, "the next writer removes what is left of it"):
                    recover(root, staging)
                raise
    except OSError as error:
        place = error.filename or root
        raise StoreError(
            f"the release store {root} cannot be written: {place}: {error.strerror or error}; "
            "what was released before is unchanged; mend it and run again"
        ) from error


def recover(root: Path, staging: Path) -> None:
    """Finishes or removes what a writer left when it stopped half-way.

    Args:
        root: folder of the store, of which this is the only writer.
        staging: its staging folder; empty afterwards.
    """
    found = journal(root)
    version = found["pending"]
    if version is not None:
        now = served(root)
        if now is not None and now.stable == version:
            durable_files.replace(latest_path(root), to_json({"version": version}), staging)
        elif found["publishes"] and (now is None or version not in now.versions):
            # By way of staging: folders vanish whole, and the manifest before them.
            manifest_path(root, version).unlink(missing_ok=True)
            card_path(root, version).unlink(missing_ok=True)
            picture_path(root, version).unlink(missing_ok=True)
            for model in MODELS:
                left = root / model / str(version)
                if left.exists():
                    durable_files.move(left, staging / f"left-{model}-{uuid.uuid4().hex}")
        write_journal(root, found["last_version"])
    durable_files.empty_folder(staging)


def begin_removal(root: Path, version: int) -> None:
    """Gives a release up, which no pointer may name: from here on `recover` removes it."""
    write_journal(root, journal(root)["last_version"], pending=version, publishes=True)


def manifests(root: Path) -> list[int]:
    """Versions that have a manifest, oldest first."""
    folder = root / "releases"
    names = (path.stem for path in folder.glob("*.json")) if folder.is_dir() else ()
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def served(root: Path) -> Served | None:
    """What `models.config` names; None before the first release."""
    path = root / "models.config"
    try:
        return models_config.parse(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        return None


def last_version(root: Path) -> int:
    """The highest version that was given out, or left a trace, a foreign one included."""
    folders = [root / model for model in MODELS]
    names = [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]
    seen = [*manifests(root), *(int(n) for n in names if n.isascii() and n.isdigit())]
    return max(journal(root)["last_version"], *seen, 0)


def journal(root: Path) -> dict[str, Any]:
    """`last_version` given out, and the version that is `pending`: being published or removed."""
    path = root / ".store" / "journal.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {key: found[key] for key in ("last_version", "pending", "publishes")}
    except FileNotFoundError:
        return {"last_version": 0, "pending": None, "publishes": False}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: cannot be read; delete it and run again") from error


def write_journal(
    root: Path, last_version: int, pending: int | None = None, publishes: bool = False
) -> None:
    """Notes what is about to happen, or that nothing is.

    Args:
        root: folder of the store.
        last_version: the highest version that was given out.
        pending: the version that the writer is about to point at, or to remove.
        publishes: whether its files are to go if `models.config` does not name it in the end.
    """
    text = to_json({"last_version": last_version, "pending": pending, "publishes": publishes})
    hidden = root / ".store"
    durable_files.replace(hidden / "journal.json", text, hidden)


def latest_path(root: Path) -> Path:
    """The pointer for readers."""
    return root / "releases" / "latest.json"


def card_path(root: Path, version: int) -> Path:
    """The model card of a release."""
    return root / "releases" / f"{version}.md"


def picture_path(root: Path, version: int) -> Path:
    """The picture that the model card of a release shows, if it has one."""
    return root / "releases" / f"{version}.png"


def mirror_path(root: Path) -> Path:
    """Where a folder that is a mirror of another store, for servers, says of which."""
    return root / ".mirror" / "source.json"


def manifest_path(root: Path, version: int) -> Path:
    """The manifest of a release."""
    return root / "releases" / f"{version}.json"
