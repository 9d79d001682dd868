"""A release store in memory, for what does not depend on the requests of a real object store."""

from __future__ import annotations

import uuid

import pytest


@pytest.fixture
def uri() -> str:
    """A store that no other test has; its writes have the conditions of a bucket's."""
    return f"memory://bucket/{uuid.uuid4().hex}"
