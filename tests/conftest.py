"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before any test module imports TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def digits_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded digits as a data set on disk; not to be written to."""
    from pipeline.datasets.writer import write_dataset

    return write_dataset("digits", tmp_path_factory.mktemp("data") / "digits").path
