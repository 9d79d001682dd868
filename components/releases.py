"""The release store wherever it is: a folder, or an object store by URI."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from components import release_store, remote_releases
from components.object_store import is_remote
from components.release import Release

LATEST = -1


def publish(
    store: str, candidates: Mapping[str, str | Path], facts: Mapping[str, Any], push_id: str = ""
) -> dict[str, Any]:
    """Makes the candidate the latest release, as `components.release_store.publish` tells.

    Returns:
        the release's manifest.
    """
    if is_remote(store):
        return remote_releases.publish(store, candidates, facts, push_id)
    return release_store.publish(store, candidates, facts, push_id).manifest


@contextlib.contextmanager
def opened(store: str, version: int, models: Sequence[str]) -> Iterator[Release | None]:
    """A release with some of its models at local paths, for as long as the context lasts.

    Args:
        store: folder or URI of the store.
        version: which release; `LATEST` for the latest.
        models: which of `components.release.MODELS` are needed.

    Yields:
        the release; None if the latest is asked for and nothing was released yet.

    Raises:
        StoreError: no such release, or it is damaged.
    """
    if not is_remote(store):
        latest = version == LATEST
        yield release_store.latest(store) if latest else release_store.get(store, version)
        return
    with tempfile.TemporaryDirectory(prefix="release-") as target:
        yield remote_releases.fetch(store, version, models, Path(target))
