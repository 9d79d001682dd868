"""Releases to serve: made once for all tests of the server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.served_releases import GenericClient, publish, serving, write_candidate


@pytest.fixture(scope="session")
def candidate(tmp_path_factory) -> dict[str, Path]:
    """A candidate for a release."""
    return write_candidate(tmp_path_factory.mktemp("candidate"), seed=1)


@pytest.fixture(scope="session")
def candidates(candidate, tmp_path_factory) -> list[dict[str, Path]]:
    """That one, and another with other weights."""
    return [candidate, write_candidate(tmp_path_factory.mktemp("candidate"), seed=2)]


@pytest.fixture(scope="session")
def first_release(candidate, tmp_path_factory) -> Path:
    """A store with one release; not to be written to."""
    store = tmp_path_factory.mktemp("store") / "serving"
    publish(store, candidate)
    return store


@pytest.fixture
def store(first_release, tmp_path) -> Path:
    """A store with one release, to be written to."""
    return Path(shutil.copytree(first_release, tmp_path / "serving"))


@pytest.fixture(scope="module")
def port(first_release) -> Iterator[int]:
    """Where a server of that store listens for gRPC."""
    with serving(first_release, max_rows=100) as running:
        yield running.port


@pytest.fixture(scope="module")
def client(port) -> GenericClient:
    """One of TensorFlow Serving's stubs for it."""
    return GenericClient(port)
