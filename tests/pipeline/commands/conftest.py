"""Three small releases for the commands that use a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures import tiny_models
from tests.fixtures.commands import vqvae
from tests.fixtures.prediction_server import PredictionServer


@pytest.fixture(scope="module")
def candidates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {codebook: tiny_models.write(folder / codebook, codebook) for codebook in "ab"}


@pytest.fixture(scope="module")
def store(tmp_path_factory, candidates) -> Path:
    """Release 1 has codebook a, 2 and 3 have codebook b."""
    store = tmp_path_factory.mktemp("root") / "serving"
    for codebook in "abb":
        tiny_models.publish(store, candidates[codebook], codebook)
    return store


@pytest.fixture(scope="module")
def server(store):
    with PredictionServer(store) as server:
        yield server


@pytest.fixture(params=["root", "store", "server"])
def where(request, store) -> list[str]:
    if request.param == "root":
        return ["--root", str(store.parent)]
    if request.param == "store":
        return ["--store", str(store)]
    return ["--server", request.getfixturevalue("server").target]


@pytest.fixture
def codes_of_a(store, tmp_path) -> Path:
    """Codes that release 1 made."""
    paths = tiny_models.write_images(tmp_path / "in", 3)
    vqvae("encode", *paths, "--out", tmp_path / "a.npz", "--store", store, "--version", 1)
    return tmp_path / "a.npz"
