"""A release store in an object store, laid out as `components.release_store` has it in a folder.

    encode/<v>/ decode/<v>/ sample/<v>/ evaluate/<v>/    as in a folder
    releases/<v>.json                                    manifest, with the SHA-256 of every file
    releases/<v>.md                                      the same for people: the model card
    models.config                                        pins all models to one version
    releases/latest.json                                 the same version, for other readers
    .store/claims/<v>.json                               which push took the version, and when
    .store/pushes/<push_id>.json                         which version a push took, and whether
                                                         it was released

An object store has no rename and no lock, but it replaces one object at a time, whole, and can
write one only if it is not there yet. So a writer first claims a version: two of them never
write under the same. It uploads the models under that version, which nothing names, then the
manifest, and only then replaces `models.config`. That one write is the release: servers that
follow it, and `fetch`, which follows it too, find every file in place. `latest.json` comes last.

A writer that is killed has released nothing: its version is spent, its files are named by
nobody. The same push, run again, goes on under its version; another removes what it left after
a day. A slower writer never takes the pointers back to its older version.

Writing only if absent needs S3 with conditional writes (AWS, MinIO, recent SeaweedFS) or GCS.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components import serving_config
from components.object_store import Folder
from components.release import MODELS, SERVED, Release, StoreError, complete, stage, to_json

_ABANDONED = datetime.timedelta(days=1)
_CLAIMS, _PUSHES = ".store/claims", ".store/pushes"


def publish(
    store: str,
    candidates: Mapping[str, str | Path],
    facts: Mapping[str, Any],
    push_id: str = "",
) -> dict[str, Any]:
    """As `components.release_store.publish`, for a store given by its URI.

    Returns:
        the release's manifest.

    Raises:
        StoreError, PipelineError: a candidate is incomplete, or the store cannot be written.
    """
    sources = complete(candidates)
    folder = Folder(store)
    push = _push(folder, push_id)
    version = push["version"] if push else _claim(folder, push_id)
    manifest = _manifest(folder, version)
    if manifest is not None and push["released"]:
        return manifest
    if manifest is None:
        _remove_abandoned(folder, version)
        with tempfile.TemporaryDirectory(prefix="release-") as scratch:
            staging = Path(scratch)
            manifest = stage(staging, sources, facts, version, push_id)
            _upload(folder, staging, version)
    if version > (_pinned(folder) or 0):
        # What servers and `fetch` follow: with this write the release is made.
        config = serving_config.render(folder.uri, SERVED, version)
        folder.write("models.config", config.encode())
        folder.write("releases/latest.json", to_json({"version": version}).encode())
    _note_push(folder, push_id, version, released=True)
    return manifest


def fetch(store: str, version: int, models: Sequence[str], target: Path) -> Release | None:
    """Copies models of a release to this machine.

    Args:
        store: URI of the store.
        version: which release; -1 for the latest.
        models: which of `MODELS`.
        target: folder for them, laid out as a store.

    Returns:
        the release in `target`; None if the latest is asked for and there is none.

    Raises:
        StoreError: no such release, or a file that is not as it was released.
    """
    folder = Folder(store)
    if version == -1:
        pinned = _pinned(folder)
        if pinned is None:
            return None
        version = pinned
    manifest = _manifest(folder, version)
    if manifest is None:
        known = [name.removesuffix(".json") for name in folder.names("releases")]
        there = ", ".join(name for name in known if name.isdigit()) or "none"
        raise StoreError(f"no release {version} in {store}; there are: {there}")
    expected = {
        f"{model}/{version}/{name.removeprefix(f'{model}/')}": digest
        for name, digest in manifest["files"].items()
        for model in models
        if name.startswith(f"{model}/")
    }
    folder.download(list(expected), target)
    for name, digest in expected.items():
        with (target / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise StoreError(
                    f"release {version} in {store} is damaged: {name} has changed; point "
                    "models.config at another release"
                )
    return Release(target, version, manifest)


def _upload(folder: Folder, staging: Path, version: int) -> None:
    """Models first, then the manifest that says they are whole; nothing of it if that fails."""
    try:
        for model in MODELS:
            folder.upload(staging / model, f"{model}/{version}")
        folder.write(f"releases/{version}.md", (staging / "card").read_bytes())
        folder.write(f"releases/{version}.json", (staging / "manifest").read_bytes())
    except BaseException:
        with contextlib.suppress(Exception):  # else the next writer does it
            _remove_files(folder, version)
        raise


def _claim(folder: Folder, push_id: str) -> int:
    """Takes the next version for this writer alone."""
    taken = [name.removesuffix(".json") for name in folder.names(_CLAIMS)]
    for model in (*MODELS, "releases"):
        taken += [name.removesuffix(".json") for name in folder.names(model)]
    version = max((int(name) for name in taken if name.isdigit()), default=0) + 1
    claim = {
        "push_id": push_id,
        "claimed": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    while not folder.create(f"{_CLAIMS}/{version}.json", to_json(claim).encode()):
        version += 1
    _note_push(folder, push_id, version, released=False)
    return version


def _push(folder: Folder, push_id: str) -> dict[str, Any] | None:
    text = folder.read(f"{_PUSHES}/{push_id}.json") if push_id else None
    return None if text is None else json.loads(text)


def _note_push(folder: Folder, push_id: str, version: int, released: bool) -> None:
    if push_id:
        note = {"version": version, "released": released}
        folder.write(f"{_PUSHES}/{push_id}.json", to_json(note).encode())


def _remove_abandoned(folder: Folder, own: int) -> None:
    """Removes the files of writers that ended a day ago or more without a release."""
    whole = {name.removesuffix(".json") for name in folder.names("releases")}
    present = {name for model in MODELS for name in folder.names(model)}
    for name in sorted(present - whole - {str(own)}):
        claim = folder.read(f"{_CLAIMS}/{name}.json")
        if not name.isdigit() or claim is None:
            continue  # nobody's of ours
        claimed = datetime.datetime.fromisoformat(json.loads(claim)["claimed"])
        if datetime.datetime.now(datetime.UTC) - claimed > _ABANDONED:
            _remove_files(folder, int(name))


def _remove_files(folder: Folder, version: int) -> None:
    folder.delete([f"releases/{version}.json", f"releases/{version}.md"])
    for model in MODELS:
        place = f"{model}/{version}"
        folder.delete(list(folder.find(place)))


def _manifest(folder: Folder, version: int) -> dict[str, Any] | None:
    text = folder.read(f"releases/{version}.json")
    if text is None:
        return None
    try:
        manifest = json.loads(text)
        _ = manifest["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"release {version} in {folder.uri} is damaged: its manifest cannot be read"
        ) from error
    return manifest


def _pinned(folder: Folder) -> int | None:
    """The version that servers follow."""
    text = folder.read("models.config")
    versions = serving_config.pinned(text.decode()) if text is not None else set()
    if len(versions) > 1:
        raise StoreError(
            f"{folder.uri}/models.config names the versions {sorted(versions)}; all models must "
            "be pinned to one"
        )
    return next(iter(versions), None)
