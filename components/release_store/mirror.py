"""A local folder that follows a release store in an object store, for TensorFlow Serving.

    encode/<v>/ decode/<v>/ sample/<v>/   copies of what `models.config` names, and has named
    models.config                         what the store's says, with the paths of this folder
    .mirror/                              lock, source, what is not whole; nothing in it is served

TensorFlow Serving opens paths and `gs://`, no other object store. Here a version is copied below
`.mirror`, its hashes are checked, it is forced to disk and moved into place; `models.config`,
which names it, is replaced last. Who follows that file finds whole releases at any instant,
whenever the mirror is killed, and the next start goes on with what is missing.

A version that `models.config` no longer names stays for a grace: a server that has not looked
again unloads what vanishes, and may still be loading it. The grace counts from the time of change
of the version's folder, which is set when it ceases to be named.

This is no release store: no manifest, no `latest.json`, nothing to roll back or to prune. Labels
are moved in the store that it follows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from components import durable_files
from components.errors import PipelineError, one_line
from components.object_store import Folder, is_remote
from components.release_store import bucket, layout, models_config
from components.release_store.copies import ReleaseCopies
from components.release_store.release import SERVED, StoreError, to_json
from components.release_store.rollout import Served

# Of the root of a volume: no reason to refuse it.
_OF_THE_VOLUME = "lost+found"


@dataclasses.dataclass(frozen=True)
class Mirrored:
    """What a mirror holds.

    Attributes:
        served: what its `models.config` names.
        left_out: version -> why it is not there, of versions without a label.
    """

    served: Served
    left_out: dict[int, str]


@contextlib.contextmanager
def mirroring(
    store: str,
    folder: str | Path,
    server_path: str | Path | None = None,
    grace_seconds: float = 600.0,
) -> Iterator[Mirror]:
    """Makes this the only process that writes to a mirror, and removes what a killed one left.

    Args:
        store: URI of the store.
        folder: of the mirror; made if it does not exist.
        server_path: that folder as the server sees it; None where it has the same path there.
        grace_seconds: that a version stays after `models.config` has ceased to name it.

    Raises:
        StoreError: the folder holds something else, another process mirrors to it, or it cannot
            be written.
    """
    if not is_remote(store):
        raise StoreError(
            f"{store}: servers read a folder without a mirror; a URI such as s3://… is mirrored"
        )
    root = Path(folder).absolute()
    with contextlib.ExitStack() as stack:
        with _written(root):
            _claim(root)
            lock = durable_files.locked(root / ".mirror" / "lock", wait=False)
            if not stack.enter_context(lock):
                raise StoreError(f"{root}: another process mirrors to it; stop it, or wait for it")
            _note_source(root, store.rstrip("/"))
            staging = root / ".mirror" / "staging"
            durable_files.make_folder(staging)
            durable_files.empty_folder(staging)
            for model in SERVED:
                durable_files.make_folder(root / model)
        yield Mirror(store, root, server_path or root, grace_seconds)


class Mirror:
    """Made by `mirroring`."""

    def __init__(self, store: str, root: Path, server_path: str | Path, grace_seconds: float):
        self._folder = Folder(store)
        self._root = root
        self._server_path = server_path
        self._grace = grace_seconds
        self._staging = root / ".mirror" / "staging"
        self._copies = ReleaseCopies(store, root, self._staging)
        # Versions of which this process has hashed, or made, all copies.
        self._whole: set[int] = set()

    def update(self) -> Mirrored | None:
        """Makes the folder hold what the store's `models.config` names now.

        Returns:
            what it holds; None where nothing has been released yet.

        Raises:
            PipelineError: the store cannot be read, a release is damaged, or the folder cannot
                be written; `models.config` is what it was.
        """
        with _written(self._root):
            while True:
                text = self._folder.read("models.config")
                try:
                    return self._follow(text)
                except PipelineError:
                    # What was named may have been removed since: then something else is named.
                    if not self._moved_on(text):
                        raise

    def _follow(self, text: bytes | None) -> Mirrored | None:
        here = self._here()
        if text is None:
            if here is None:
                return None
            raise StoreError(f"{self._folder.uri} holds no releases any more")
        wanted = models_config.parse(
            text.decode(errors="replace"), f"{self._folder.uri}/models.config"
        )
        if here is not None:
            self._remove_expired({*here.versions, *wanted.versions})
        required = {wanted.stable, wanted.canary}
        left_out = {}
        for version in sorted(wanted.versions, key=lambda each: (each not in required, each)):
            try:
                self._copy(version)
            except PipelineError as error:
                # As servers do, which load what there is of versions without a label. But what
                # they have loaded is not taken from them because a look at it failed.
                if version in required or (here is not None and version in here.versions):
                    raise
                left_out[version] = one_line(error)
        versions = tuple(set(wanted.versions) - set(left_out))
        served = dataclasses.replace(wanted, versions=versions)
        self._point(here, served)
        return Mirrored(served, left_out)

    def _copy(self, version: int) -> None:
        """Brings all models of a version into place, where they are not."""
        paths = {model: self._copies.path(model, version) for model in SERVED}
        if version in self._whole and all(path.is_dir() for path in paths.values()):
            return
        for model, expected in self._digests(version).items():
            if not paths[model].is_dir() or durable_files.digests(paths[model]) != expected:
                self._copies.fetch(model, version)
        self._whole.add(version)

    def _digests(self, version: int) -> dict[str, dict[str, str]]:
        """Model -> SHA-256 by path, of a release in the store."""
        with tempfile.TemporaryDirectory(dir=self._staging, ignore_cleanup_errors=True) as scratch:
            release = bucket.fetch(self._folder.uri, version, [], Path(scratch))
        files = release.manifest["files"]
        return {
            model: {
                name.removeprefix(f"{model}/"): digest
                for name, digest in files.items()
                if name.startswith(f"{model}/")
            }
            for model in SERVED
        }

    def _point(self, here: Served | None, served: Served) -> None:
        path = self._root / "models.config"
        text = models_config.render(self._server_path, SERVED, served)
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        # Before, not after: killed in between, the grace of what is still named begins anew.
        for version in set(here.versions if here else ()) - set(served.versions):
            for model in SERVED:
                with contextlib.suppress(FileNotFoundError):
                    os.utime(self._copies.path(model, version))
        durable_files.replace(path, text, self._staging)

    def _remove_expired(self, named: set[int]) -> None:
        for model, version in self._copies.there():
            changed = self._copies.path(model, version).stat().st_mtime
            if version not in named and time.time() - changed > self._grace:
                self._whole.discard(version)
                self._copies.remove(model, version)

    def _here(self) -> Served | None:
        """What this folder's `models.config` names; None where it names nothing."""
        with contextlib.suppress(StoreError):
            return layout.served(self._root)
        return None

    def _moved_on(self, text: bytes | None) -> bool:
        with contextlib.suppress(PipelineError):
            return self._folder.read("models.config") != text
        return False


def _claim(root: Path) -> None:
    """Makes the hidden folder, unless the folder is used for something else."""
    if not layout.mirror_source(root).is_file() and root.is_dir():
        others = {path.name for path in root.iterdir()} - {".mirror", _OF_THE_VOLUME}
        if others:
            raise StoreError(
                f"{root}: is no mirror and holds {min(others)}; name a folder of its own"
            )
    durable_files.make_folder(root / ".mirror")


def _note_source(root: Path, store: str) -> None:
    mark = layout.mirror_source(root)
    text = to_json({"store": store})
    if not mark.is_file():
        durable_files.replace(mark, text, mark.parent)
    elif mark.read_text(encoding="utf-8") != text:
        before = json.loads(mark.read_text(encoding="utf-8"))["store"]
        raise StoreError(
            f"{root}: is a mirror of {before}, whose versions are other releases; name another "
            f"folder for {store}, or empty this one"
        )


@contextlib.contextmanager
def _written(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or root
        raise StoreError(
            f"the mirror {root} cannot be written: {place}: {error.strerror or error}; what it "
            "names is unchanged; repair it, and it goes on"
        ) from error
