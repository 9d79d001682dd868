"""Candidates for the release store, and what must hold of it at any instant."""

import random
from pathlib import Path

from components import release_store, serving_config
from components.release import MODELS, SERVED, VERSION_ASSET


def make_candidate(folder: Path, seed: int = 0, size: int = 1000) -> dict[str, Path]:
    """Files laid out like four SavedModels; the store does not look inside them."""
    generator = random.Random(seed)
    for model in MODELS:
        (folder / model / "variables").mkdir(parents=True)
        (folder / model / "saved_model.pb").write_bytes(generator.randbytes(size))
        (folder / model / "variables/variables.index").write_bytes(generator.randbytes(64))
        data = folder / model / "variables/variables.data-00000-of-00001"
        data.write_bytes(generator.randbytes(size))
    for model in SERVED:
        (folder / model / "assets").mkdir()
        (folder / model / VERSION_ASSET).write_text("0")
    return {model: folder / model for model in MODELS}


def visible(store: Path) -> dict[str, bytes]:
    """All that a reader or a server could see, byte for byte."""
    return {
        str(path.relative_to(store)): path.read_bytes() if path.is_file() else b"folder"
        for path in sorted(store.rglob("*"))
        if path.relative_to(store).parts[0] != ".store"
    }


def configured(store: Path) -> int | None:
    """The version that a server following models.config serves."""
    try:
        text = (store / "models.config").read_text()
    except FileNotFoundError:
        return None
    versions = serving_config.pinned(text)
    assert len(versions) == 1
    return versions.pop()


def check_pointers(store: Path) -> set[int]:
    """Asserts that whatever the pointers name is whole; returns the versions they name."""
    named = set()
    if (version := configured(store)) is not None:
        release = release_store.get(store, version)
        assert release_store.verify(release) == []
        named.add(version)
    if (release := release_store.latest(store)) is not None:
        assert release_store.verify(release) == []
        named.add(release.version)
    return named


def check_clean(store: Path, versions: list[int]) -> None:
    """Asserts that nothing but these releases is there."""
    assert release_store.versions(store) == versions
    for model in MODELS:
        assert sorted(int(path.name) for path in (store / model).iterdir()) == versions
    assert list((store / ".store/staging").iterdir()) == []
