"""A mirror that is killed at any step: servers find whole releases, and its next start goes on."""

from __future__ import annotations

import uuid

import pytest

from components.release_store import store as release_store
from components.release_store.mirror import mirroring
from components.release_store.release import SERVED
from tests.fixtures.killing import killed_at_every_step
from tests.fixtures.mirror_reader import MirrorReader
from tests.fixtures.release_checks import make_candidate

# Copies of the folder are looked at: its own path may not be in models.config.
SERVER_PATH = "/models"


@pytest.fixture
def push(uri, tmp_path):
    candidate = make_candidate(tmp_path / "candidate", size=100)
    return lambda label: release_store.publish(uri, candidate, {}, uuid.uuid4().hex, label)


def mirror_all(uri, folder):
    with mirroring(uri, folder, SERVER_PATH, grace_seconds=0) as mirror:
        mirror.update()
        mirror.update()  # removes what the first has given up


def check_completed(uri, folder):
    """The next start goes on, and nothing of the one that was killed is left."""
    mirror_all(uri, folder)
    versions, labels = MirrorReader(uri, folder, SERVER_PATH).look()
    served = release_store.served(uri)
    assert versions == {*served.versions}
    assert labels["stable"] == served.stable
    for model in SERVED:
        assert {int(path.name) for path in (folder / model).iterdir()} == versions
    assert {path.name for path in folder.iterdir()} == {*SERVED, "models.config", ".mirror"}
    assert list((folder / ".mirror/staging").iterdir()) == []


@pytest.mark.slow
def test_the_first_time(uri, push, tmp_path):
    push("stable")
    folder = tmp_path / "models"
    folder.mkdir()
    outcomes = set()

    def check(copy):
        outcomes.add(MirrorReader(uri, copy, SERVER_PATH).look() is None)
        check_completed(uri, copy)

    steps = killed_at_every_step(tmp_path, folder, lambda copy: mirror_all(uri, copy), check)
    assert steps > 100
    assert outcomes == {True, False}


@pytest.mark.slow
def test_from_one_release_to_another(uri, push, tmp_path):
    """One is added, one stays, one is removed."""
    for label in ("stable", "canary"):
        push(label)
    folder = tmp_path / "models"
    mirror_all(uri, folder)
    push("stable")
    release_store.set_canary(uri, None)
    before, after = {1, 2}, {*release_store.served(uri).versions}
    assert after == {1, 3}
    outcomes = set()

    def check(copy):
        versions, _ = MirrorReader(uri, copy, SERVER_PATH).look()
        outcomes.add(frozenset(versions))
        check_completed(uri, copy)

    killed_at_every_step(tmp_path, folder, lambda copy: mirror_all(uri, copy), check)
    assert outcomes == {frozenset(before), frozenset(after)}
