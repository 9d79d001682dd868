"""A folder that the task and all workers reach: on a volume they mount, or in an object store."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from components.object_store.folder import Folder, is_remote


class Staging:
    """One training's folder.

    Args:
        place: path or URI; made where it is missing.
    """

    def __init__(self, place: str):
        self.place = place.rstrip("/")
        self._folder: Folder | Path = Folder(place) if is_remote(place) else Path(place)

    def put(self, source: Path, name: str) -> None:
        """Copies a file or a folder to `name`, in place of what an earlier try has left there."""
        if isinstance(self._folder, Folder):
            if source.is_dir():
                self._folder.delete(list(self._folder.find(name)))
                self._folder.upload(source, name)
            else:
                self._folder.put({name: source})
            return
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, target)

    def local(self) -> Path:
        """All of it as a local folder: the volume's own, or a copy."""
        if isinstance(self._folder, Path):
            return self._folder
        target = Path(tempfile.mkdtemp(prefix="staging-"))
        self._folder.download(list(self._folder.find()), target)
        return target

    def remove(self) -> None:
        """Removes it."""
        if isinstance(self._folder, Folder):
            self._folder.delete(list(self._folder.find()))
        else:
            shutil.rmtree(self._folder, ignore_errors=True)
