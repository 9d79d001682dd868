"""The release store as the server reads it: a folder, or an object store by URI."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from components.object_store.folder import Folder, is_remote
from components.release_store import store as release_store
from components.release_store.copies import ReleaseCopies


class FollowedStore:
    """What is released, and where the SavedModels of a release are on this machine.

    Args:
        location: folder or URI of the store. What is served of an object store is copied to a
            temporary folder, with its hashes checked.
    """

    def __init__(self, location: str | Path):
        self.location = str(location)
        self._remote = Folder(self.location) if is_remote(location) else None
        self._copies = None
        if self._remote:
            self._temporary = tempfile.TemporaryDirectory(prefix="serving-")
            place = Path(self._temporary.name)
            self._copies = ReleaseCopies(self.location, place, place)

    def config(self) -> str | None:
        """The text of `models.config`; None before the first release."""
        if self._remote:
            data = self._remote.read("models.config")
            return data.decode() if data is not None else None
        try:
            return Path(self.location, "models.config").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def versions(self) -> list[int]:
        """Versions of the releases, oldest first."""
        return release_store.versions(self.location)

    def folder(self, model: str, version: int) -> Path:
        """The SavedModel of a release.

        Raises:
            PipelineError: there is no such release, or it is damaged.
        """
        if not self._copies:
            with release_store.opened(self.location, version, [model]) as release:
                return release.path(model)
        path = self._copies.path(model, version)
        if not path.is_dir():
            self._copies.fetch(model, version)
        return path

    def keep(self, served: dict[str, list[int]]) -> None:
        """Removes copies of what is no longer served; a loaded SavedModel does not need its own."""
        if self._copies:
            for model, version in self._copies.there():
                if version not in served.get(model, []):
                    self._copies.remove(model, version)

    def close(self) -> None:
        if self._copies:
            with contextlib.suppress(OSError):
                self._temporary.cleanup()
