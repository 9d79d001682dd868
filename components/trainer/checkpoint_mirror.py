"""Checkpoints in an object store, by way of a folder of this machine.

TensorFlow writes to mounted file systems and to some object stores; this works with all that
fsspec knows. A checkpoint is named by the file `checkpoint`, which is written last and as a
whole, and what it no longer names is removed after that: whoever reads finds the old
checkpoint or the new.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from components.object_store.folder import Folder

_STATE = "checkpoint"


class CheckpointMirror:
    """A local folder with the contents of one in an object store.

    Args:
        uri: folder of the object store; what it holds is copied here at once.
    """

    def __init__(self, uri: str):
        self._remote = Folder(uri)
        self.path = Path(tempfile.mkdtemp(prefix="checkpoints-"))
        self._remote.download(sorted(self._remote.find()), self.path)
        self._there = self._local()

    def push(self) -> None:
        """Brings the object store to what the local folder holds."""
        local = self._local()
        states = {name for name in local if name.rsplit("/", 1)[-1] == _STATE}
        new = {name for name in local if local[name] != self._there.get(name)} - states
        self._remote.put({name: self.path / name for name in sorted(new)})
        for name in sorted(states):
            self._remote.write(name, (self.path / name).read_bytes())
        self._remote.delete(sorted(self._there.keys() - local.keys()))
        self._there = local

    def _local(self) -> dict[str, int]:
        """Files of the local folder, and when each was written, in nanoseconds."""
        return {
            path.relative_to(self.path).as_posix(): path.stat().st_mtime_ns
            for path in self.path.rglob("*")
            if path.is_file()
        }
