"""What all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before any test module imports TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Without bytecode each of the many processes compiles TensorFlow and TFX again, for half a minute.
# A shell that wants none beside the sources gets it in the environment, which `make clean` removes.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = os.path.join(sys.prefix, "bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix

# The files that take minutes, longest first: workers that begin with them end together.
_LONGEST = (
    "test_standin_runs.py",
    "test_kills.py",
    "test_replicas.py",
    "test_retraining.py",
    "test_configs.py",
    "test_digits.py",
    "test_copies.py",
    "test_literal_paths.py",
    "test_evaluator.py",
    "test_gpu_check.py",
    "test_stops.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts those files to the front; the order within a file stays."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session")
def digits_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded digits as a data set on disk; not to be written to."""
    from pipeline.datasets.writer import write_dataset

    return write_dataset("digits", tmp_path_factory.mktemp("data") / "digits").path


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server with the bucket `bucket`; its address."""
    from tests.fixtures.object_stores import s3_server

    with s3_server("bucket") as address:
        yield address


@pytest.fixture
def s3_uri(s3: str, request: pytest.FixtureRequest) -> str:
    """A place in that bucket that no other test has."""
    return f"s3://bucket/{request.node.name}"


@pytest.fixture
def candidate(tmp_path: Path) -> dict[str, Path]:
    """Models that can be released, though none is a SavedModel."""
    from tests.fixtures.release_checks import make_candidate

    return make_candidate(tmp_path / "candidate")
