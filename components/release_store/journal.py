"""The journal of a release store in a folder: its last version, and what is about to be done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components import durable_files
from components.release_store import layout
from components.release_store.release import StoreError, to_json


def read(root: Path) -> dict[str, Any]:
    """`last_version` given out, and the version that is `pending`: being published or removed."""
    path = root / ".store" / "journal.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {key: found[key] for key in ("last_version", "pending", "publishes")}
    except FileNotFoundError:
        return {"last_version": 0, "pending": None, "publishes": False}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: cannot be read; delete it and run again") from error


def write(
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


def last_version(root: Path) -> int:
    """The highest version that was given out, or left a trace, a foreign one included."""
    return max(read(root)["last_version"], *layout.versions_seen(root), 0)
