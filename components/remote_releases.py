"""A release store in an object store, laid out as `components.release_store` has it in a folder.

    encode/<v>/ decode/<v>/ sample/<v>/ evaluate/<v>/    as in a folder
    releases/<v>.json                                    manifest, with the SHA-256 of every file
    releases/<v>.md, releases/<v>.png                    the model card and its samples
    models.config                                        which versions to serve, which labels
    releases/latest.json                                 the stable version, for other readers
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

Of two that write `models.config` at the same instant, the later decides: what people do by hand
(`promote`, `set_canary`, `prune`) is not to be done twice at once, nor while a run pushes.

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

from components import rollout, serving_config
from components.errors import after
from components.object_store import Folder
from components.release import MODELS, SERVED, Release, StoreError, complete, stage, to_json
from components.rollout import Rollout, Served

_ABANDONED = datetime.timedelta(days=1)
_CLAIMS, _PUSHES = ".store/claims", ".store/pushes"
_LATEST = "releases/latest.json"


def publish(
    store: str,
    candidates: Mapping[str, str | Path],
    facts: Mapping[str, Any],
    push_id: str = "",
    label: Rollout = "stable",
    picture: Path | None = None,
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
            manifest = stage(staging, sources, facts, version, push_id, picture)
            _upload(folder, staging, version)
    before = _served(folder)
    # What servers and `fetch` follow: with this write the release is made.
    _point(folder, before, rollout.released(before, version, label))
    _note_push(folder, push_id, version, released=True)
    return manifest


def promote(store: str, version: int) -> None:
    """As `components.release_store.promote`; files are counted, `vqvae releases verify` reads them.

    Raises:
        StoreError: no such release, or one of its files is missing.
    """
    folder = Folder(store)
    _present(folder, version)
    before = None
    with contextlib.suppress(StoreError):  # this mends a models.config that says nothing
        before = _served(folder)
    _point(folder, before, rollout.promoted(before, version))


def set_canary(store: str, version: int | None) -> Served:
    """As `components.release_store.set_canary`; files are counted, not read.

    Raises:
        StoreError: no such release, or one of its files is missing, or it is the stable one.
    """
    folder = Folder(store)
    before = _served(folder)
    after = rollout.canary_set(before, version, store)
    if version is not None:
        _present(folder, version)
    _point(folder, before, after)
    return after


def served(store: str) -> Served | None:
    """What servers are told to load; None before the first release."""
    return _served(Folder(store))


def versions(store: str) -> list[int]:
    """Versions that have a manifest, oldest first."""
    return _versions(Folder(store))


def prune(store: str, keep: int) -> list[int]:
    """As `components.release_store.prune`.

    Killed midway, a release that was being removed is one that a writer left: it is no longer
    listed, and a later push removes the rest.

    Returns:
        the versions that were removed, oldest first.
    """
    if keep < 1:
        raise StoreError(f"keep must be at least 1, not {keep}")
    folder = Folder(store)
    removed = []
    for version in _versions(folder)[:-keep]:
        if version not in _named(folder):
            _remove_files(folder, version)
            removed.append(version)
    return removed


def fetch(store: str, version: int, models: Sequence[str], target: Path) -> Release | None:
    """Copies models of a release to this machine.

    Args:
        store: URI of the store.
        version: which release; -1 for the stable one.
        models: which of `MODELS`.
        target: folder for them, laid out as a store.

    Returns:
        the release in `target`, its picture included; None if the stable one is asked for and
        there is none.

    Raises:
        StoreError: no such release, or a file that is not as it was released.
    """
    folder = Folder(store)
    if version == -1:
        now = _served(folder)
        if now is None:
            return None
        version = now.stable
    manifest = _existing(folder, version)
    expected = _files(manifest, version, models)
    folder.download(list(expected), target)
    for name, digest in expected.items():
        with (target / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise StoreError(
                    f"release {version} in {store} is damaged: {name} has changed; point "
                    "servers at another release with `vqvae releases promote`"
                )
    if (picture := folder.read(f"releases/{version}.png")) is not None:
        (target / "releases").mkdir(parents=True, exist_ok=True)
        (target / "releases" / f"{version}.png").write_bytes(picture)
    return Release(target, version, manifest)


def _upload(folder: Folder, staging: Path, version: int) -> None:
    """Models first, then the manifest that says they are whole; nothing of it if that fails."""
    try:
        for model in MODELS:
            folder.upload(staging / model, f"{model}/{version}")
        if (staging / "picture").is_file():
            folder.write(f"releases/{version}.png", (staging / "picture").read_bytes())
        folder.write(f"releases/{version}.md", (staging / "card").read_bytes())
        folder.write(f"releases/{version}.json", (staging / "manifest").read_bytes())
    except BaseException as failure:
        with after(failure, "a later writer removes what is left of it"):
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
    whole = {str(version) for version in _versions(folder)}
    present = {name for model in MODELS for name in folder.names(model)}
    for name in sorted(present - whole - {str(own)}):
        claim = folder.read(f"{_CLAIMS}/{name}.json")
        if not name.isdigit() or claim is None:
            continue  # nobody's of ours
        claimed = datetime.datetime.fromisoformat(json.loads(claim)["claimed"])
        if datetime.datetime.now(datetime.UTC) - claimed > _ABANDONED:
            _remove_files(folder, int(name))


def _remove_files(folder: Folder, version: int) -> None:
    folder.delete([f"releases/{version}.{kind}" for kind in ("json", "md", "png")])
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


def _existing(folder: Folder, version: int) -> dict[str, Any]:
    """The manifest of a release, which there must be."""
    manifest = _manifest(folder, version)
    if manifest is None:
        there = ", ".join(map(str, _versions(folder))) or "none"
        raise StoreError(f"no release {version} in {folder.uri}; there are: {there}")
    return manifest


def _files(manifest: Mapping[str, Any], version: int, models: Sequence[str]) -> dict[str, str]:
    """Path in the store -> SHA-256 of every file of some models."""
    return {
        f"{model}/{version}/{name.removeprefix(f'{model}/')}": digest
        for name, digest in manifest["files"].items()
        for model in models
        if name.startswith(f"{model}/")
    }


def _present(folder: Folder, version: int) -> None:
    """Checks that a release has all its files."""
    expected = _files(_existing(folder, version), version, MODELS)
    found = {name for model in MODELS for name in folder.find(f"{model}/{version}")}
    for name in expected:
        if name not in found:
            raise StoreError(
                f"release {version} in {folder.uri} is damaged: {name} is missing; choose another"
            )


def _versions(folder: Folder) -> list[int]:
    names = [name.removesuffix(".json") for name in folder.names("releases")]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def _named(folder: Folder) -> set[int]:
    """Every version that a pointer names."""
    now, text = _served(folder), folder.read(_LATEST)
    named = set(now.versions if now else ())
    try:
        return named if text is None else named | {int(json.loads(text)["version"])}
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f'{folder.uri}/{_LATEST}: not of the form {{"version": 1}}; point it at a release '
            "with `vqvae releases promote`"
        ) from error


def _served(folder: Folder) -> Served | None:
    """What servers follow."""
    text = folder.read("models.config")
    if text is None:
        return None
    return serving_config.parse(text.decode(), f"{folder.uri}/models.config")


def _point(folder: Folder, before: Served | None, after: Served) -> None:
    """Replaces what servers follow, then what other readers do."""
    if after != before:
        folder.write("models.config", serving_config.render(folder.uri, SERVED, after).encode())
    # Also where nothing changes: who wrote models.config may have been killed before this.
    latest = to_json({"version": after.stable}).encode()
    if folder.read(_LATEST) != latest:
        folder.write(_LATEST, latest)
