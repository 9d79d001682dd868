"""The lock of a release store in a folder: one writer at a time, on a store without remains."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

from components import durable_files
from components.errors import after
from components.release_store import journal, layout
from components.release_store.release import MODELS, StoreError, to_json


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
            "what was released before is unchanged; repair it and run again"
        ) from error


def recover(root: Path, staging: Path) -> None:
    """Finishes or removes what a writer left when it stopped half-way.

    Args:
        root: folder of the store, of which this is the only writer.
        staging: its staging folder; empty afterwards.
    """
    found = journal.read(root)
    version = found["pending"]
    if version is not None:
        now = layout.served(root)
        if now is not None and now.stable == version:
            durable_files.replace(layout.latest(root), to_json({"version": version}), staging)
        elif found["publishes"] and (now is None or version not in now.versions):
            # By way of staging: folders vanish whole, and the manifest before them.
            layout.manifest(root, version).unlink(missing_ok=True)
            layout.card(root, version).unlink(missing_ok=True)
            layout.picture(root, version).unlink(missing_ok=True)
            for model in MODELS:
                left = root / model / str(version)
                if left.exists():
                    durable_files.move(left, staging / f"left-{model}-{uuid.uuid4().hex}")
        journal.write(root, found["last_version"])
    durable_files.empty_folder(staging)


def begin_removal(root: Path, version: int) -> None:
    """Gives a release up, which no pointer may name: from here on `recover` removes it."""
    journal.write(root, journal.read(root)["last_version"], pending=version, publishes=True)
