"""The release store: a folder in which encode, decode and sample are released as one.

    encode/<v>/ decode/<v>/ sample/<v>/   SavedModels to serve
    evaluate/<v>/                         the SavedModel a later candidate is compared with
    releases/<v>.json                     manifest, with the SHA-256 of every file
    releases/<v>.md                       the same for people: the model card
    releases/<v>.png                      the samples that it shows, if the release has any
    models.config                         for TensorFlow Serving: which versions, which labels
    releases/latest.json                  {"version": <v>}: the stable release
    .store/                               lock, journal, staging; nothing in it is served

A release is copied to `.store/staging` and forced to disk, then moved into place under a
version that nothing names yet; then `models.config` is replaced, which decides the release,
and `releases/latest.json` last, if it is the stable one. Whoever follows either file finds whole
releases at any instant, the old or the new. Before the first move the journal records the
version, so the next writer after a crash knows what it finds: if `models.config` already has it
as the stable one, `latest.json` is brought to agree (servers may answer from it already); if
`models.config` does not name it at all, what was moved is removed. The version is spent either
way: versions only grow.

Which versions are loaded, and what moves a label, is in `components.release_store.rollout`.

Writers take turns by a file lock. Readers need none, since releases do not change.

`models.config` holds absolute paths, as TensorFlow Serving needs: those of the store on the
machine that publishes. Where servers mount it elsewhere, `models_config.render` writes theirs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components import durable_files
from components.release_store import journal, layout, lock, models_config, rollout
from components.release_store.check import complete, differences, missing_part
from components.release_store.release import (
    MODELS,
    SERVED,
    Release,
    StoreError,
    stage,
    to_json,
)
from components.release_store.rollout import Rollout, Served


def publish(
    store: str | Path,
    candidates: Mapping[str, str | Path],
    facts: Mapping[str, Any],
    push_id: str = "",
    label: Rollout = "stable",
    picture: Path | None = None,
) -> Release:
    """Makes the candidate the newest release, or changes nothing that a reader can see.

    Args:
        store: folder of the store; made if it does not exist.
        candidates: folder of the SavedModel for each of `MODELS`. Where one has the file
            `assets/release_version`, its copy holds the new version.
        facts: what the manifest says beside `version`, `created` (UTC), `push_id`, `files`
            (SHA-256 by path, `encode/saved_model.pb`) and `picture_sha256`.
        push_id: names this push. If it was released before, even by a process that was killed
            before it could say so, that release is returned and nothing is written.
        label: `stable` replaces the stable release at once and ends a canary; `canary` leaves
            it as it is. The first release of a store is stable in any case.
        picture: samples of the model as a PNG, for the model card.

    Raises:
        StoreError: a candidate is incomplete, or the store cannot be written.
    """
    root = _folder(store)
    sources = complete(candidates)
    with lock.writing(root) as staging:
        if push_id and (done := _pushed(root, push_id)):
            return done
        version = journal.last_version(root) + 1
        after = rollout.released(layout.served(root), version, label)
        manifest = stage(staging, sources, facts, version, push_id, picture)
        durable_files.write(staging / "models.config", models_config.render(root, SERVED, after))
        durable_files.write(staging / "latest", to_json({"version": version}))
        durable_files.sync_tree(staging)
        for folder in (*MODELS, "releases"):
            durable_files.make_folder(root / folder)
        release = Release(root, version, manifest)
        # All bytes are on disk: what follows are renames, which a full disk does not stop.
        journal.write(root, version, pending=version, publishes=True)
        for model in MODELS:
            durable_files.move(staging / model, release.path(model))
        if picture is not None:
            durable_files.move(staging / "picture", layout.picture(root, version))
        durable_files.move(staging / "card", layout.card(root, version))
        durable_files.move(staging / "manifest", layout.manifest(root, version))
        durable_files.move(staging / "models.config", root / "models.config")  # decided
        if after.stable == version:
            durable_files.move(staging / "latest", layout.latest(root))
        else:
            (staging / "latest").unlink()
        journal.write(root, version)
    return release


def promote(store: str | Path, version: int) -> Release:
    """Makes a release the stable one, for servers and for the next run's baseline.

    Forward, to a canary or to any newer release, the one that was stable stays loaded. Back, the
    release is the only one that is loaded. A canary ends either way (`rollout.promoted`).

    Raises:
        StoreError: no such release, or its files are not those that were released.
    """
    root = _folder(store)
    release = _unchanged(root, version)
    with lock.writing(root) as staging:
        get(root, version)  # it may have been removed while its files were read
        before = None
        with contextlib.suppress(StoreError):  # this mends a models.config that says nothing
            before = layout.served(root)
        last = journal.last_version(root)
        journal.write(root, last, pending=version, publishes=False)
        _write_config(root, rollout.promoted(before, version), staging)
        durable_files.replace(layout.latest(root), to_json({"version": version}), staging)
        journal.write(root, last)
    return release


def set_canary(store: str | Path, version: int | None) -> Served:
    """Serves a release beside the stable one under the label `canary`; with None, ends that.

    Returns:
        what is served now.

    Raises:
        StoreError: no such release, or its files are not those that were released, or it is the
            stable one.
    """
    root = _folder(store)
    rollout.canary_set(layout.served(root), version, root)  # before anything is written
    if version is not None:
        _unchanged(root, version)
    with lock.writing(root) as staging:
        if version is not None:
            get(root, version)
        after = rollout.canary_set(layout.served(root), version, root)
        _write_config(root, after, staging)
    return after


def served(store: str | Path) -> Served | None:
    """What servers are told to load; None before the first release.

    Raises:
        StoreError: `models.config` does not say it.
    """
    return layout.served(_folder(store))


def latest(store: str | Path) -> Release | None:
    """The release that `releases/latest.json` names; None where nothing was released yet.

    Raises:
        StoreError: `latest.json` cannot be read, or names a release that is not whole.
    """
    root = _folder(store)
    path = layout.latest(root)
    mend = f"point it at a release with `vqvae releases rollback` (there are: {_known(root)})"
    try:
        version = json.loads(path.read_text(encoding="utf-8"))["version"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f'{path}: not of the form {{"version": 1}}; {mend}') from error
    if not isinstance(version, int):
        raise StoreError(f'{path}: not of the form {{"version": 1}}; {mend}')
    try:
        return get(root, version)
    except StoreError as error:
        raise StoreError(f"{path} names release {version}, but {error}; {mend}") from error


def get(store: str | Path, version: int) -> Release:
    """A release by its version.

    Raises:
        StoreError: no such release, or a part of it is missing (`differences` also reads the
            files).
    """
    root = _folder(store)
    path = layout.manifest(root, version)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(f"no release {version} in {root}; there are: {_known(root)}") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"release {version} is damaged: {path} cannot be read") from error
    if not isinstance(manifest, dict) or manifest.get("version") != version:
        raise StoreError(f"release {version} is damaged: {path} is not its manifest")
    release = Release(root, version, manifest)
    for model in MODELS:
        if lacking := missing_part(release.path(model)):
            raise StoreError(f"release {version} is damaged: {lacking} is missing")
    return release


def versions(store: str | Path) -> list[int]:
    """Versions of the releases, oldest first, whole or damaged; `get` tells which."""
    return layout.versions(_folder(store))


def finish_pending(store: str | Path) -> None:
    """Finishes what a writer had decided when it was killed, if no other is at work."""
    root = _folder(store)
    if journal.read(root)["pending"] is not None:
        with lock.writing(root, wait=False):
            pass


def prune(store: str | Path, keep: int) -> list[int]:
    """Removes all but the newest releases; never one that `models.config` or `latest.json` names.

    A release vanishes as a whole: its manifest first, by which readers find it. Killed midway,
    the next writer finishes the release that was being removed; the others are still there.

    Args:
        store: folder of the store.
        keep: how many of the newest stay, at least 1.

    Returns:
        the versions that were removed, oldest first.

    Raises:
        StoreError: `latest.json` cannot be read, or the store cannot be written; releases that
            were not reached are whole.
    """
    if keep < 1:
        raise StoreError(f"keep must be at least 1, not {keep}")
    root = _folder(store)
    if not root.is_dir():
        return []
    removed = []
    with lock.writing(root) as staging:
        stable, now = latest(root), layout.served(root)
        named = {*(now.versions if now else ()), *([stable.version] if stable else ())}
        for version in [each for each in versions(root)[:-keep] if each not in named]:
            lock.begin_removal(root, version)
            lock.recover(root, staging)
            removed.append(version)
    return removed


def _pushed(root: Path, push_id: str) -> Release | None:
    for version in reversed(versions(root)):
        with contextlib.suppress(StoreError):  # an old release's damage stops no new one
            release = get(root, version)
            if release.manifest.get("push_id") == push_id:
                return release
    return None


def _unchanged(root: Path, version: int) -> Release:
    release = get(root, version)
    if problems := differences(release):
        raise StoreError(f"release {version} in {root} is damaged: {problems[0]}; choose another")
    return release


def _write_config(root: Path, after: Served, staging: Path) -> None:
    text = models_config.render(root, SERVED, after)
    durable_files.replace(root / "models.config", text, staging)


def _folder(store: str | Path) -> Path:
    if "://" in str(store):
        raise StoreError(
            f"release store {store}: this command needs a folder of a mounted file system"
        )
    root = Path(store).absolute()
    if (mark := layout.mirror_source(root)).is_file():
        source = json.loads(mark.read_text(encoding="utf-8"))["store"]
        raise StoreError(f"{root} is a mirror for servers, not a release store; name {source}")
    return root


def _known(root: Path) -> str:
    return ", ".join(map(str, versions(root))) or "none"
