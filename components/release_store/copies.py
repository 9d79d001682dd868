"""SavedModels of the releases in an object store, copied to a folder of this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from components import durable_files
from components.release_store import bucket
from components.release_store.release import SERVED


class ReleaseCopies:
    """Copies laid out as a store has them, `encode/3/`; each is there whole or not at all.

    Args:
        store: URI of the store.
        root: folder for the copies.
        scratch: folder on the same filesystem for what is not whole; what a process that was
            killed left there is its owner's to remove.
    """

    def __init__(self, store: str, root: Path, scratch: Path):
        self._store = store
        self._root = root
        self._scratch = scratch

    def path(self, model: str, version: int) -> Path:
        """Where the copy of a SavedModel is, or will be."""
        return self._root / model / str(version)

    def there(self) -> list[tuple[str, int]]:
        """Model and version of every copy."""
        return [
            (model, int(path.name))
            for model in SERVED
            for path in self._root.glob(f"{model}/*")
            if path.name.isascii() and path.name.isdigit()
        ]

    def fetch(self, model: str, version: int) -> None:
        """Copies a SavedModel with its hashes checked; it takes the place of one that is there.

        Raises:
            PipelineError: there is no such release, it is damaged, or the store cannot be read.
            OSError: the copy cannot be written.
        """
        path = self.path(model, version)
        with self._own_scratch() as name:
            scratch = Path(name)
            bucket.fetch(self._store, version, [model], scratch)
            durable_files.sync_tree(scratch / model)
            durable_files.make_folder(path.parent)
            if path.exists():
                path.rename(scratch / "replaced")
            durable_files.move(scratch / model / str(version), path)

    def remove(self, model: str, version: int) -> None:
        """Removes a copy, which vanishes whole."""
        with self._own_scratch() as name:
            durable_files.move(self.path(model, version), Path(name, model))

    def _own_scratch(self) -> tempfile.TemporaryDirectory:
        return tempfile.TemporaryDirectory(dir=self._scratch, ignore_cleanup_errors=True)
