"""Checkpoints in an object store, by way of a folder of this machine.

TensorFlow writes to mounted file systems and to some object stores; this works with all that
fsspec knows. A checkpoint is named by the file `checkpoint`, which is written last and as a
whole, and what it no longer names is removed after that: whoever reads finds the old
checkpoint or the new.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from components.object_store import Folder

_STATE = "checkpoint"


class CheckpointMirror:
    """A local folder with the contents of one in an object store.

    Args:
        uri: folder of the object store; what it holds is copied here at once.
        writes: whether `push` writes; with several workers one of them does.
    """

    def __init__(self, uri: str, writes: bool):
        self._remote, self._writes = Folder(uri), writes
        self.path = Path(tempfile.mkdtemp(prefix="checkpoints-"))
        # Files of this name never change, but for the states.
        self._there = set(self._remote.find())
        self._remote.download(sorted(self._there), self.path)

    def push(self) -> None:
        """Brings the object store to what the local folder holds."""
        if not self._writes:
            return
        local = {
            path.relative_to(self.path).as_posix(): path
            for path in self.path.rglob("*")
            if path.is_file()
        }
        states = {name for name in local if name.rsplit("/", 1)[-1] == _STATE}
        new = {name: local[name] for name in local.keys() - self._there - states}
        self._remote.put(dict(sorted(new.items())))
        for name in sorted(states):
            self._remote.write(name, local[name].read_bytes())
        self._remote.delete(sorted(self._there - local.keys()))
        self._there = set(local)
