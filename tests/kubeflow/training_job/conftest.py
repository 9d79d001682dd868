"""The pod of the task, and a cluster with and without workers that run."""

from __future__ import annotations

import pytest

from tests.fixtures.fake_kubernetes_api import (
    FakeCluster,
)
from tests.fixtures.fake_kubernetes_server import serving


@pytest.fixture(autouse=True)
def pod(monkeypatch):
    """The variables of the task's own pod."""
    monkeypatch.setenv("KFP_POD_NAME", "trainer-pod")
    monkeypatch.setenv("KFP_POD_UID", "uid-1")
    monkeypatch.setenv("KFP_RUN_ID", "run-1")


@pytest.fixture
def cluster():
    with serving(FakeCluster(run_workers=False)) as fake:
        yield fake


@pytest.fixture
def workers():
    with serving(FakeCluster()) as fake:
        yield fake
