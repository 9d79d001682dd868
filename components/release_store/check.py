"""Whether SavedModels, candidates and releases are complete, by their names, sizes and hashes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from components import durable_files
from components.release_store import layout
from components.release_store.release import MODELS, Release, StoreError


def missing_part(folder: Path) -> Path | None:
    """The first file that a SavedModel lacks, or that is empty; None for a whole one.

    Looks at names and sizes only: the graph, the index of the variables and every one of
    their shards, whose names say how many there are.
    """
    graph = folder / "saved_model.pb"
    if not _filled(graph):
        return graph
    variables = folder / "variables"
    index = variables / "variables.index"
    if not _filled(index):
        return index
    counts = [path.name.rsplit("-", 1)[1] for path in variables.glob("variables.data-?????-of-*")]
    total = int(counts[0]) if counts and counts[0].isdigit() else 1
    for shard in range(total):
        path = variables / f"variables.data-{shard:05}-of-{total:05}"
        if not path.is_file():  # a shard without variables may be empty
            return path
    return None


def complete(candidates: Mapping[str, str | Path]) -> dict[str, Path]:
    """The folders of `MODELS`, each a whole SavedModel.

    Raises:
        StoreError: one is not.
    """
    sources = {model: Path(candidates[model]) for model in MODELS}
    for model, source in sources.items():
        if lacking := missing_part(source):
            raise StoreError(f"nothing released: the {model} model lacks {lacking}; train it again")
    return sources


def differences(release: Release) -> list[str]:
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
    if expected_picture := release.manifest.get("picture_sha256"):
        picture = layout.picture(release.store, release.version)
        if not picture.is_file():
            problems.append(f"releases/{picture.name} is missing")
        elif durable_files.digest(picture) != expected_picture:
            problems.append(f"releases/{picture.name} has changed")
    return problems


def _filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
