"""The release store wherever it is: a folder, or an object store by URI."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

from components.object_store.folder import is_remote
from components.release_store import bucket, folder
from components.release_store.release import Release, StoreError
from components.release_store.rollout import Rollout, Served


def publish(
    store: str,
    candidates: Mapping[str, str | Path],
    facts: Mapping[str, Any],
    push_id: str = "",
    label: Rollout = "stable",
    picture: Path | None = None,
) -> dict[str, Any]:
    """Releases the candidate, as `folder.publish` tells.

    Returns:
        the release's manifest.
    """
    if is_remote(store):
        return bucket.publish(store, candidates, facts, push_id, label, picture)
    return folder.publish(store, candidates, facts, push_id, label, picture).manifest


@contextlib.contextmanager
def opened(store: str, version: int, models: Sequence[str]) -> Iterator[Release]:
    """A release with some of its models at local paths, for as long as the context lasts.

    Args:
        store: folder or URI of the store.
        version: which release.
        models: which of `release.MODELS` are needed.

    Raises:
        StoreError: no such release, or it is damaged.
    """
    if not is_remote(store):
        yield folder.get(store, version)
        return
    with tempfile.TemporaryDirectory(prefix="release-") as target:
        yield bucket.fetch(store, version, models, Path(target))


@contextlib.contextmanager
def opened_stable(store: str, models: Sequence[str]) -> Iterator[Release | None]:
    """The stable release, as `opened`; None where nothing was released yet.

    Raises:
        StoreError: the store does not say which is stable, or that one is damaged.
    """
    if not is_remote(store):
        yield folder.latest(store)
    elif (now := bucket.served(store)) is None:
        yield None
    else:
        with opened(store, now.stable, models) as release:
            yield release


def opened_if_any(
    store: str, version: int | None, models: Sequence[str]
) -> AbstractContextManager[Release | None]:
    """As `opened`, or for None as `opened_stable`."""
    if version is None:
        return opened_stable(store, models)
    return opened(store, version, models)


def plan(store: str, run_key: str) -> tuple[int, str]:
    """What a run compares with and how it names its push, decided before it starts.

    A run whose key is that of the stable release or of the canary is a repetition: it gets the
    same two values as the run that made the release, so that every component finds its cached
    result. Any other is compared with the stable one.

    Args:
        store: folder or URI of the store; need not exist yet.
        run_key: hash of all that the run depends on; empty never repeats.

    Returns:
        baseline_version (0: nothing to compare with) and push_id.
    """
    if not is_remote(store):
        folder.finish_pending(store)
    with opened_stable(store, []) as release:
        if release is None:
            return 0, uuid.uuid4().hex
        stable = release.manifest
    for manifest in (stable, _canary(store)):
        baseline = manifest.get("baseline_requested", 0)
        if (
            run_key
            and manifest.get("run_key") == run_key
            and manifest.get("push_id")
            and (baseline <= 0 or baseline in versions(store))
        ):
            return baseline, manifest["push_id"]
    return stable["version"], uuid.uuid4().hex


def versions(store: str) -> list[int]:
    """Versions of the releases, oldest first, whole or damaged."""
    return _of(store).versions(store)


def served(store: str) -> Served | None:
    """What servers are told to load; None before the first release."""
    return _of(store).served(store)


def promote(store: str, version: int) -> None:
    """Makes a release the stable one, as `folder.promote` tells."""
    _of(store).promote(store, version)


def set_canary(store: str, version: int | None) -> Served:
    """Begins or ends a canary, as `folder.set_canary` tells."""
    return _of(store).set_canary(store, version)


def prune(store: str, keep: int) -> list[int]:
    """Removes old releases that nothing names, as `folder.prune` tells."""
    return _of(store).prune(store, keep)


def _canary(store: str) -> dict[str, Any]:
    """The canary's manifest, where there is a canary and it is whole."""
    with contextlib.suppress(StoreError):
        now = served(store)
        if now is not None and now.canary is not None:
            with opened(store, now.canary, []) as release:
                return release.manifest
    return {}


def _of(store: str) -> ModuleType:
    return bucket if is_remote(store) else folder
