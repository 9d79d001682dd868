"""A release store in an object store, laid out as `release_store.folder` has it in a folder.

    encode/<v>/ decode/<v>/ sample/<v>/ evaluate/<v>/    as in a folder
    releases/<v>.json                                    manifest, with the SHA-256 of every file
    releases/<v>.md, releases/<v>.png                    the model card and its samples
    models.config                                        the decision: which versions to serve,
                                                         under which labels, and what is removed
    releases/latest.json                                 the stable version, for other readers
    .store/                                              which push took which version, and when

An object store has no rename and no lock, but it replaces one object at a time, whole, and only
if it still is what was read. So a writer first claims a version: two of them never write under
the same (`bucket_push`). It uploads the models under that version, which nothing names, then the
manifest, sees that every file is there with its hash, and only then replaces `models.config`. That
one write is the release: servers that follow it, and `fetch`, which follows it too, find every
file in place. `latest.json` comes last.

Every other decision (`promote`, `set_canary`, `prune`) is one such write too, made by who has
read the file as it is; who comes too late reads it again and decides again (`bucket_decision`).
What is removed is given up there first, so nothing can name it.

A writer that is killed has released nothing: its version is spent, its files are named by
nobody. The same push, run again, goes on under its version; another removes what it left after
a day. A slower writer never takes the pointers back to its older version.

Conditions on writes are in S3 (AWS, MinIO, recent SeaweedFS) and in GCS. A store without them is
refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.object_store.folder import Folder
from components.release_store import bucket_decision, bucket_push, rollout
from components.release_store.bucket_decision import Decision
from components.release_store.bucket_push import GivenUpError
from components.release_store.check import complete
from components.release_store.release import MODELS, Release, StoreError, stage
from components.release_store.rollout import Rollout, Served

# Never there: a write to it on a condition must be refused.
_NOTHING = ".store/nothing"
_TRIES = 5


def publish(
    store: str,
    candidates: Mapping[str, str | Path],
    facts: Mapping[str, Any],
    push_id: str = "",
    label: Rollout = "stable",
    picture: Path | None = None,
) -> dict[str, Any]:
    """As `folder.publish`, for a store given by its URI.

    Returns:
        the release's manifest.

    Raises:
        StoreError, PipelineError: a candidate is incomplete, or the store cannot be written.
    """
    sources = complete(candidates)
    folder = _writable(store)
    version, released = bucket_push.take(folder, push_id)
    for _ in range(_TRIES):
        if released or version in bucket_decision.read(folder).pushed:
            return _released_before(folder, version)
        try:
            with (
                bucket_push.at_work(folder, version, push_id),
                tempfile.TemporaryDirectory(prefix="release-") as scratch,
            ):
                bucket_push.remove_abandoned(folder)
                staging = Path(scratch)
                staged = stage(staging, sources, facts, version, push_id, picture)
                manifest = bucket_push.upload(folder, staging, version, staged)
                _release(folder, staging, version, label)
                return manifest
        except GivenUpError:
            # Another writer took this one for dead: all again, as a new version.
            bucket_push.give_up(folder, functools.partial(_unless_pushed, version))
            version, released = bucket_push.take(folder, push_id, instead_of=version)
    raise StoreError(
        f"nothing released to {store}: other writers gave up {_TRIES} versions of this push while "
        "it was at work; look for clocks that are a day wrong, and run it again"
    )


def promote(store: str, version: int) -> None:
    """As `folder.promote`; files are counted, `vqvae releases verify` reads them.

    Raises:
        StoreError: no such release, or one of its files is missing.
    """
    folder = _writable(store)

    def promoted(before: Decision) -> Decision:
        _check_present(folder, version, before)
        return _with(before, rollout.promoted(before.served, version), version)

    # This mends a models.config that says nothing.
    bucket_decision.decide(folder, promoted, mends=True)


def set_canary(store: str, version: int | None) -> Served:
    """As `folder.set_canary`; files are counted, not read.

    Raises:
        StoreError: no such release, or one of its files is missing, or it is the stable one.
    """
    folder = _writable(store)

    def canary_set(before: Decision) -> Decision:
        after = rollout.canary_set(before.served, version, store)
        if version is None:
            return _with(before, after)
        _check_present(folder, version, before)
        return _with(before, after, version)

    now = bucket_decision.decide(folder, canary_set).served
    assert now is not None  # there is no canary where nothing is served
    return now


def served(store: str) -> Served | None:
    """What servers are told to load; None before the first release."""
    return bucket_decision.read(Folder(store)).served


def versions(store: str) -> list[int]:
    """Versions that have a manifest, oldest first; those that are being removed have none."""
    return _versions(Folder(store))


def prune(store: str, keep: int) -> list[int]:
    """As `folder.prune`; a push that is at work is left alone too.

    Killed midway, what was being removed is no longer listed and can be named by nothing; the
    next push or `prune` removes the rest.

    Returns:
        the versions that were removed, oldest first.
    """
    if keep < 1:
        raise StoreError(f"keep must be at least 1, not {keep}")
    folder = _writable(store)

    def old(before: Decision) -> set[int]:
        # What a push is at work on is no release yet: not to be removed, nor one of the newest.
        made = [
            version
            for version in bucket_push.versions(folder)
            if version not in before.removed
            and (version in before.pushed or bucket_push.is_dead(folder, version, unclaimed=True))
        ]
        return set(made[:-keep])

    return bucket_push.give_up(folder, old)


def fetch(store: str, version: int, models: Sequence[str], target: Path) -> Release:
    """Copies models of a release to this machine.

    Args:
        store: URI of the store.
        version: which release.
        models: which of `MODELS`.
        target: folder for them, laid out as a store.

    Returns:
        the release in `target`, its picture included.

    Raises:
        StoreError: no such release, or a file that is not as it was released.
    """
    folder = Folder(store)
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


def _writable(store: str) -> Folder:
    """The store, in which decisions can be made."""
    folder = Folder(store)
    folder.require_conditions(_NOTHING)
    return folder


def _release(folder: Folder, staging: Path, version: int, label: Rollout) -> None:
    """Has servers load a release that was uploaded: with this write it is made."""
    known: dict[str, str] = {}

    def released(before: Decision) -> Decision:
        if version in before.pushed:
            return before
        if version in before.removed or bucket_push.lacking(folder, staging, version, known):
            raise GivenUpError(f"release {version} in {folder.uri} was removed while it was made")
        return _with(before, rollout.released(before.served, version, label), version)

    bucket_decision.decide(folder, released)


def _unless_pushed(version: int, decision: Decision) -> set[int]:
    return {version} - decision.pushed


def _with(before: Decision, served: Served, *pushed: int) -> Decision:
    return dataclasses.replace(before, served=served, pushed=before.pushed.union(pushed))


def _released_before(folder: Folder, version: int) -> dict[str, Any]:
    """The manifest of a push that was released by an earlier attempt."""
    manifest = _manifest(folder, version)
    if manifest is None:
        raise StoreError(
            f"this push was released to {folder.uri} as version {version}, which was removed "
            "since; a new run makes a new release"
        )
    bucket_decision.repeat(folder)
    return manifest


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


def _check_present(folder: Folder, version: int, decision: Decision) -> None:
    """Checks that a release has all its files, and is not about to lose them."""
    expected = _files(_existing(folder, version), version, MODELS)
    if version in decision.removed:
        raise StoreError(f"release {version} in {folder.uri} is being removed; choose another")
    found = {name for model in MODELS for name in folder.find(f"{model}/{version}")}
    for name in expected:
        if name not in found:
            raise StoreError(
                f"release {version} in {folder.uri} is damaged: {name} is missing; choose another"
            )


def _versions(folder: Folder) -> list[int]:
    removed: frozenset[int] = frozenset()
    with contextlib.suppress(StoreError):  # of a models.config that says nothing
        removed = bucket_decision.read(folder).removed
    return [version for version in bucket_push.versions(folder) if version not in removed]
