"""Candidates for the release store, and what must hold of it at any instant."""

import random
from pathlib import Path

from components import release_store
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


def make_picture(folder: Path) -> Path:
    """What goes for samples of a model; the store does not look at them."""
    path = folder / "samples.png"
    path.write_bytes(b"a picture")
    return path


def visible(store: Path) -> dict[str, bytes]:
    """All that a reader or a server could see, byte for byte."""
    return {
        str(path.relative_to(store)): path.read_bytes() if path.is_file() else b"folder"
        for path in sorted(store.rglob("*"))
        if path.relative_to(store).parts[0] != ".store"
    }


def stable(store: Path) -> int | None:
    """The version that a server following models.config has under the label `stable`."""
    served = release_store.served(store)
    return served and served.stable


def check_pointers(store: Path) -> set[int]:
    """Asserts that whatever the pointers name is whole; returns the versions they name."""
    served, latest = release_store.served(store), release_store.latest(store)
    named = {*(served.versions if served else ()), *([latest.version] if latest else ())}
    for version in named:
        assert release_store.verify(release_store.get(store, version)) == []
    return named


def check_clean(store: Path, versions: list[int]) -> None:
    """Asserts that nothing but these releases is there."""
    assert release_store.versions(store) == versions
    for model in MODELS:
        assert sorted(int(path.name) for path in (store / model).iterdir()) == versions
    beside = {path.stem for path in (store / "releases").iterdir()} - {"latest"}
    assert beside == set(map(str, versions))
    assert list((store / ".store/staging").iterdir()) == []
