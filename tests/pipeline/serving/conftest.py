"""Releases to serve: made once for all tests of the server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from served_releases import publish, write_candidate


@pytest.fixture(scope="session")
def candidates(tmp_path_factory) -> list[dict[str, Path]]:
    """Two candidates for a release, with other weights."""
    folder = tmp_path_factory.mktemp("candidates")
    return [write_candidate(folder / str(seed), seed) for seed in (1, 2)]


@pytest.fixture(scope="session")
def first_release(candidates, tmp_path_factory) -> Path:
    """A store with one release; not to be written to."""
    store = tmp_path_factory.mktemp("store") / "serving"
    publish(store, candidates[0])
    return store


@pytest.fixture
def store(first_release, tmp_path) -> Path:
    """A store with one release, to be written to."""
    return Path(shutil.copytree(first_release, tmp_path / "serving"))
