"""Where things lie in a release store in a folder, and which releases that shows."""

from __future__ import annotations

from pathlib import Path

from components.release_store import models_config
from components.release_store.release import MODELS
from components.release_store.rollout import Served


def latest(root: Path) -> Path:
    """The pointer for readers."""
    return root / "releases" / "latest.json"


def manifest(root: Path, version: int) -> Path:
    """The manifest of a release."""
    return root / "releases" / f"{version}.json"


def card(root: Path, version: int) -> Path:
    """The model card of a release."""
    return root / "releases" / f"{version}.md"


def picture(root: Path, version: int) -> Path:
    """The picture that the model card of a release shows, if it has one."""
    return root / "releases" / f"{version}.png"


def mirror_source(root: Path) -> Path:
    """Where a folder that is a mirror of another store, for servers, says of which."""
    return root / ".mirror" / "source.json"


def versions(root: Path) -> list[int]:
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


def versions_seen(root: Path) -> list[int]:
    """Versions that left a trace, a foreign one included."""
    folders = [root / model for model in MODELS]
    names = [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return [*versions(root), *(int(n) for n in names if n.isascii() and n.isdigit())]
