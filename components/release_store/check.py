"""Whether a SavedModel on disk is whole."""

from __future__ import annotations

from pathlib import Path


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


def _filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
