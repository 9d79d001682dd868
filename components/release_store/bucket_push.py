"""A push to a release store of an object store, from its version to files that are all there.

    .store/claims/<v>.json        which push took the version, and when it was last at work
    .store/pushes/<push_id>.json  which version a push took

Who creates the claim of a version has it alone: two pushes never write under the same. A push
that is run again, or twice at once, goes on under the version of its note, where objects are
created and never replaced, so that every attempt finds what another left. A push at work renews
its claim; one that has not for a day is dead, and its version is given up by another writer
before its files are removed. It takes a new version if it comes back after all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from components.errors import PipelineError, after
from components.object_store import Folder
from components.release_store import bucket_decision
from components.release_store.bucket_decision import Decision
from components.release_store.release import MODELS, StoreError, to_json
from components.repeating import repeating

_ABANDONED = datetime.timedelta(days=1)
_RENEWAL = datetime.timedelta(hours=1)
_CLAIMS, _PUSHES = ".store/claims", ".store/pushes"


class GivenUpError(StoreError):
    """The version of a push cannot be released: it was given up, or other files lie under it."""


def take(folder: Folder, push_id: str, instead_of: int | None = None) -> tuple[int, bool]:
    """The version of a push.

    Args:
        folder: the store.
        push_id: names the push; without a name it takes a new version.
        instead_of: the version that it had and cannot use.

    Returns:
        the version, and whether an older version of this program noted that it was released.
    """
    while True:
        path = f"{_PUSHES}/{push_id}.json"
        found = folder.read_stamped(path) if push_id else None
        note = json.loads(found.data) if found else {}
        if found and note["version"] != instead_of:
            return note["version"], note.get("released", False)
        version = _claim(folder, push_id)
        note = to_json({"version": version}).encode()
        # If another attempt was faster, its version is that of the push.
        if not push_id or folder.replace(path, note, found.stamp if found else None):
            return version, False


@contextlib.contextmanager
def at_work(folder: Folder, version: int, push_id: str) -> Iterator[None]:
    """Renews the claim of a version, at once and as long as the context lasts."""
    path = f"{_CLAIMS}/{version}.json"
    claim = json.loads(folder.read(path) or "{}")

    def renew() -> None:
        folder.write(path, to_json(_claimed(push_id, claim.get("claimed"))).encode())

    def renew_again() -> None:
        with contextlib.suppress(PipelineError):  # next time, or the push fails of itself
            renew()

    renew()
    with repeating(renew_again, _RENEWAL.total_seconds()):
        yield


def upload(folder: Folder, staging: Path, version: int, manifest: dict[str, Any]) -> dict[str, Any]:
    """Brings a staged release to the store: models first, then the manifest that lists them.

    Args:
        folder: the store.
        staging: as `components.release_store.release.stage` leaves it.
        version: of the push.
        manifest: what `stage` returned.

    Returns:
        the manifest that is in the store, which an earlier attempt may have written.

    Raises:
        GivenUpError: it lists other files.
    """
    beside = {"picture": f"releases/{version}.png", "card": f"releases/{version}.md"}
    try:
        for model in MODELS:
            folder.upload(staging / model, f"{model}/{version}", replace=False)
        files = {path: staging / name for name, path in beside.items()}
        folder.put({path: file for path, file in files.items() if file.is_file()}, replace=False)
        folder.create(f"releases/{version}.json", (staging / "manifest").read_bytes())
    except BaseException as failure:
        with after(failure, "another writer removes what is left of it, a day later"):
            give_up(folder, lambda decision: {version} - decision.pushed)
        raise
    there = json.loads(folder.read(f"releases/{version}.json") or "{}")
    if any(there.get(key) != manifest.get(key) for key in ("files", "picture_sha256")):
        raise GivenUpError(f"release {version} in {folder.uri}: other files lie under it")
    return there


def lacking(folder: Folder, staging: Path, version: int, known: dict[str, str]) -> list[str]:
    """Files of a staged release that are not in the store, or not as they were staged.

    Args:
        folder: the store.
        staging: the release on this machine.
        version: of the push.
        known: what earlier calls for this release found (`Folder.differing`); filled.
    """
    paths = []
    for model in MODELS:
        paths += folder.differing(staging / model, f"{model}/{version}", known)
    picture = staging / "picture"
    beside = [
        f"{version}.json",
        f"{version}.md",
        *([f"{version}.png"] if picture.is_file() else []),
    ]
    paths += sorted({*beside} - {*folder.names("releases")})
    if picture.is_file() and not paths:
        data = folder.read(f"releases/{version}.png")
        paths += [] if data == picture.read_bytes() else [f"releases/{version}.png"]
    return paths


def remove_abandoned(folder: Folder) -> None:
    """Removes the files of pushes that died without a manifest, and what removals left."""
    whole = set(versions(folder))
    suspects = _present(folder) - whole

    def dead(decision: Decision) -> set[int]:
        return {v for v in suspects - decision.pushed if is_dead(folder, v, unclaimed=False)}

    if suspects:
        give_up(folder, dead)


def give_up(folder: Folder, which: Callable[[Decision], set[int]]) -> list[int]:
    """Gives versions up for good, then removes the files of all that were.

    Until something is served there is nothing by which a writer could learn of it, so nothing
    is removed either.

    Args:
        folder: the store.
        which: the versions, as a function of the decision that holds.

    Returns:
        those that this call gave up, rising.
    """
    given_up: set[int] = set()

    def without(before: Decision) -> Decision:
        given_up.clear()
        if before.served is None:
            return before
        given_up.update(which(before) - before.removed - set(before.served.versions))
        return dataclasses.replace(before, removed=before.removed | given_up)

    decision = bucket_decision.decide(folder, without)
    for version in sorted(decision.removed & (_present(folder) | set(versions(folder)))):
        _remove_files(folder, version)
    return sorted(given_up)


def is_dead(folder: Folder, version: int, unclaimed: bool) -> bool:
    """Whether nobody is at work on a version.

    Args:
        folder: the store.
        version: one that no push had served yet.
        unclaimed: the answer for one that no push of ours ever claimed.
    """
    text = folder.read(f"{_CLAIMS}/{version}.json")
    if text is None:
        return unclaimed
    claim = json.loads(text)
    last = datetime.datetime.fromisoformat(claim.get("renewed") or claim["claimed"])
    return _now() - last > _ABANDONED


def versions(folder: Folder) -> list[int]:
    """Versions that have a manifest, rising, those that are being removed included."""
    return sorted(_numbers(name.removesuffix(".json") for name in folder.names("releases")))


def _claim(folder: Folder, push_id: str) -> int:
    """Takes the next version for this push alone."""
    taken = _present(folder) | set(versions(folder))
    taken |= _numbers(name.removesuffix(".json") for name in folder.names(_CLAIMS))
    version = max(taken, default=0) + 1
    claim = to_json(_claimed(push_id)).encode()
    while not folder.create(f"{_CLAIMS}/{version}.json", claim):
        version += 1
    return version


def _claimed(push_id: str, since: str | None = None) -> dict[str, str]:
    now = _now().isoformat(timespec="seconds")
    return {"push_id": push_id, "claimed": since or now, "renewed": now}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _present(folder: Folder) -> set[int]:
    """Versions that have files of a model."""
    return _numbers(name for model in MODELS for name in folder.names(model))


def _numbers(names: Iterable[str]) -> set[int]:
    return {int(name) for name in names if name.isascii() and name.isdigit()}


def _remove_files(folder: Folder, version: int) -> None:
    folder.delete([f"releases/{version}.{kind}" for kind in ("json", "md", "png")])
    for model in MODELS:
        folder.delete(list(folder.find(f"{model}/{version}")))
