"""The release store: a folder in which encode, decode and sample are released as one.

    encode/<v>/ decode/<v>/ sample/<v>/   SavedModels to serve
    evaluate/<v>/                         the SavedModel a later candidate is compared with
    releases/<v>.json                     manifest, with the SHA-256 of every file
    models.config                         for TensorFlow Serving: pins all three to one version
    releases/latest.json                  {"version": <v>}
    .store/                               lock, journal, staging; nothing in it is served

A release is copied to `.store/staging` and forced to disk, then moved into place under a
version that nothing names yet; then `models.config` is replaced, which decides the release,
and `releases/latest.json` last. Whoever follows either file finds a whole release at any
instant, the old or the new. Before the first move the journal records the version, so the
next writer after a crash knows what it finds: if `models.config` already names the version,
`latest.json` is brought to agree (servers may answer from it already); otherwise what was
moved is removed. The version is spent either way: versions only grow.

Writers take turns by a file lock. Readers need none, since releases do not change.

`models.config` holds absolute paths, as TensorFlow Serving needs: those of the store on the
machine that publishes. Where servers mount it elsewhere, `serving_config.render` writes theirs.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components import durable_files, serving_config
from components.release import MODELS, SERVED, Release, StoreError, complete, stage, to_json
from components.saved_model import missing_part


def publish(
    store: str | Path,
    candidates: Mapping[str, str | Path],
    facts: Mapping[str, Any],
    push_id: str = "",
) -> Release:
    """Makes the candidate the latest release, or changes nothing that a reader can see.

    Args:
        store: folder of the store; made if it does not exist.
        candidates: folder of the SavedModel for each of `MODELS`. Where one has the file
            `assets/release_version`, its copy holds the new version.
        facts: what the manifest says beside `version`, `created` (UTC), `push_id` and `files`
            (SHA-256 by path, `encode/saved_model.pb`).
        push_id: names this push. If it was released before, even by a process that was killed
            before it could say so, that release is returned and nothing is written.

    Raises:
        StoreError: a candidate is incomplete, or the store cannot be written.
    """
    root = _folder(store)
    sources = complete(candidates)
    with _writing(root) as staging:
        if push_id and (done := _pushed(root, push_id)):
            return done
        version = max(_journal(root)["last_version"], *_versions_seen(root), 0) + 1
        manifest = stage(staging, sources, facts, version, push_id)
        durable_files.write(staging / "models.config", serving_config.render(root, SERVED, version))
        durable_files.write(staging / "latest", to_json({"version": version}))
        durable_files.sync_tree(staging)
        for folder in (*MODELS, "releases"):
            durable_files.make_folder(root / folder)
        release = Release(root, version, manifest)
        # All bytes are on disk: what follows are renames, which a full disk does not stop.
        _write_journal(root, version, pending=version, publishes=True)
        for model in MODELS:
            durable_files.move(staging / model, release.path(model))
        durable_files.move(staging / "manifest", _manifest_path(root, version))
        durable_files.move(staging / "models.config", root / "models.config")  # decided
        durable_files.move(staging / "latest", _latest_path(root))
        _write_journal(root, version)
    return release


def rollback(store: str | Path, version: int) -> Release:
    """Points servers and readers at an earlier (or again at a later) release.

    Raises:
        StoreError: no such release, or its files are not those that were released.
    """
    root = _folder(store)
    release = get(root, version)
    if problems := verify(release):
        raise StoreError(f"release {version} in {root} is damaged: {problems[0]}; choose another")
    with _writing(root) as staging:
        last = max(_journal(root)["last_version"], *_versions_seen(root))
        _write_journal(root, last, pending=version, publishes=False)
        durable_files.replace(
            root / "models.config", serving_config.render(root, SERVED, version), staging
        )
        durable_files.replace(_latest_path(root), to_json({"version": version}), staging)
        _write_journal(root, last)
    return release


def latest(store: str | Path) -> Release | None:
    """The release that `releases/latest.json` names; None where nothing was released yet.

    Raises:
        StoreError: `latest.json` cannot be read, or names a release that is not whole.
    """
    root = _folder(store)
    path = _latest_path(root)
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
        StoreError: no such release, or a part of it is missing (`verify` also reads the files).
    """
    root = _folder(store)
    path = _manifest_path(root, version)
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
    folder = _folder(store) / "releases"
    names = (path.stem for path in folder.glob("*.json")) if folder.is_dir() else ()
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def verify(release: Release) -> list[str]:
    """What differs between a release and its manifest; empty for one that is whole."""
    expected = release.manifest.get("files")
    if not isinstance(expected, dict):
        return ["the manifest does not list the files"]
    found = {
        f"{model}/{name}": digest
        for model in MODELS
        for name, digest in durable_files.digests(release.path(model)).items()
    }
    problems = [f"{name} is missing" for name in expected if name not in found]
    for name, digest in found.items():
        if name not in expected:
            problems.append(f"{name} does not belong to it")
        elif digest != expected[name]:
            problems.append(f"{name} has changed")
    return problems


def plan(store: str | Path, run_key: str) -> tuple[int, str]:
    """What a run compares with and how it names its push, decided before it starts.

    A run whose key is that of the latest release is a repetition: it gets the same two values
    as the run that made the release, so that every component finds its cached result.

    Args:
        store: folder of the store; need not exist yet.
        run_key: hash of all that the run depends on; empty never repeats.

    Returns:
        baseline_version (0: nothing to compare with) and push_id.
    """
    root = _folder(store)
    if _journal(root)["pending"] is not None:
        with _writing(root, wait=False):
            pass  # finishes what a killed writer had decided
    release = latest(root)
    if release is None:
        return 0, uuid.uuid4().hex
    manifest = release.manifest
    baseline = manifest.get("baseline_requested", 0)
    if (
        run_key
        and manifest.get("run_key") == run_key
        and manifest.get("push_id")
        and (baseline <= 0 or baseline in versions(root))
    ):
        return baseline, manifest["push_id"]
    return release.version, uuid.uuid4().hex


@contextlib.contextmanager
def _writing(root: Path, wait: bool = True) -> Iterator[Path]:
    """Makes this the only writer, on a store without remains; yields the staging folder."""
    hidden = root / ".store"
    staging = hidden / "staging"
    try:
        durable_files.make_folder(staging)
        with durable_files.locked(hidden / "lock", wait) as held:
            if not held:
                yield staging
                return
            _recover(root, staging)
            try:
                yield staging
            except BaseException:
                # If this fails too (the disk is gone), the next writer does it.
                with contextlib.suppress(OSError, StoreError):
                    _recover(root, staging)
                raise
    except OSError as error:
        place = error.filename or root
        raise StoreError(
            f"the release store {root} cannot be written: {place}: {error.strerror or error}; "
            "what was released before is unchanged; mend it and run again"
        ) from error


def _recover(root: Path, staging: Path) -> None:
    """Finishes or removes what a writer left when it stopped half-way."""
    journal = _journal(root)
    version = journal["pending"]
    if version is not None:
        if _configured(root) == {version}:
            durable_files.replace(_latest_path(root), to_json({"version": version}), staging)
        elif journal["publishes"]:
            # By way of staging: folders vanish whole, and the manifest before them.
            _manifest_path(root, version).unlink(missing_ok=True)
            for model in MODELS:
                left = root / model / str(version)
                if left.exists():
                    durable_files.move(left, staging / f"left-{model}-{uuid.uuid4().hex}")
        _write_journal(root, journal["last_version"])
    durable_files.empty_folder(staging)


def _pushed(root: Path, push_id: str) -> Release | None:
    for version in reversed(versions(root)):
        with contextlib.suppress(StoreError):  # an old release's damage stops no new one
            release = get(root, version)
            if release.manifest.get("push_id") == push_id:
                return release
    return None


def _configured(root: Path) -> set[int]:
    try:
        text = (root / "models.config").read_text(encoding="utf-8")
    except FileNotFoundError:
        return set()
    return serving_config.pinned(text)


def _versions_seen(root: Path) -> list[int]:
    """Every version that left a trace, foreign ones included."""
    folders = [root / model for model in MODELS]
    names = [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return [0, *versions(root), *(int(n) for n in names if n.isascii() and n.isdigit())]


def _journal(root: Path) -> dict[str, Any]:
    path = root / ".store" / "journal.json"
    try:
        journal = json.loads(path.read_text(encoding="utf-8"))
        return {key: journal[key] for key in ("last_version", "pending", "publishes")}
    except FileNotFoundError:
        return {"last_version": 0, "pending": None, "publishes": False}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: cannot be read; delete it and run again") from error


def _write_journal(
    root: Path, last_version: int, pending: int | None = None, publishes: bool = False
) -> None:
    text = to_json({"last_version": last_version, "pending": pending, "publishes": publishes})
    hidden = root / ".store"
    durable_files.replace(hidden / "journal.json", text, hidden)


def _folder(store: str | Path) -> Path:
    if "://" in str(store):
        raise StoreError(
            f"release store {store}: this command needs a folder of a mounted file system"
        )
    return Path(store).absolute()


def _latest_path(root: Path) -> Path:
    return root / "releases" / "latest.json"


def _manifest_path(root: Path, version: int) -> Path:
    return root / "releases" / f"{version}.json"


def _known(root: Path) -> str:
    return ", ".join(map(str, versions(root))) or "none"
