"""Pushes to an object store that are stopped for long, come back, or meet what others decided."""

from __future__ import annotations

import datetime
import json
import threading

import pytest

from components.object_store.folder import Folder
from components.release_store import bucket_push
from components.release_store import store as release_store
from components.release_store.release import StoreError
from tests.fixtures.remote_checks import (
    Killed,
    check_whole,
    old_claim,
    state,
    stop_at,
    versions_held,
)


def test_a_push_at_work_for_days_is_not_taken_for_dead(uri, candidate, monkeypatch):
    release_store.publish(uri, candidate, {}, "before")
    live_on = stop_at(monkeypatch, path="sample/2/")
    with pytest.raises(Killed):
        release_store.publish(uri, candidate, {}, "slow")
    live_on()
    now = datetime.datetime.now(datetime.UTC).isoformat()
    old_claim(uri, 2, renewed=now)
    release_store.publish(uri, candidate, {}, "other")
    assert versions_held(uri, "encode") == ["1", "2", "3"]
    old_claim(uri, 2)
    release_store.publish(uri, candidate, {}, "another")
    assert versions_held(uri, "encode") == ["1", "3", "4"]


def test_the_claim_is_renewed_while_files_are_uploaded(uri, candidate, monkeypatch):
    renewed = threading.Event()
    put, write = Folder.put, Folder.write

    def note(self, path, data):
        if path.startswith(".store/claims/") and threading.current_thread() is not main:
            renewed.set()
        write(self, path, data)

    def wait(self, files, replace=True):
        assert renewed.wait(60)
        put(self, files, replace)

    main = threading.current_thread()
    monkeypatch.setattr(bucket_push, "_RENEWAL", datetime.timedelta(milliseconds=10))
    monkeypatch.setattr(Folder, "write", note)
    monkeypatch.setattr(Folder, "put", wait)
    release_store.publish(uri, candidate, {}, "push")
    claim = json.loads(Folder(uri).read(".store/claims/1.json"))
    assert claim["push_id"] == "push"
    assert claim["renewed"] >= claim["claimed"]


@pytest.mark.parametrize("path", ["sample/2/", "releases/2.json", "models.config"])
def test_a_push_that_comes_back_after_its_files_were_removed(uri, candidate, monkeypatch, path):
    """It was stopped for a day; another took it for dead. It makes a whole release all the same."""
    release_store.publish(uri, candidate, {}, "before")

    def next_day():
        old_claim(uri, 2)
        if path == "models.config":  # it has a manifest by now, so only `prune` removes it
            release_store.publish(uri, candidate, {}, "other")
            assert release_store.prune(uri, 1) == [2]
        release_store.publish(uri, candidate, {}, "next day")
        assert "2" not in versions_held(uri, "encode")

    went_on = []

    def stopped(method):
        def call(self, what, *args, **kwargs):
            first = what if isinstance(what, str) else next(iter(what), "")
            if first.startswith(path) and not went_on:
                went_on.append(first)
                next_day()
            return method(self, what, *args, **kwargs)

        return call

    for name in ("replace", "put"):
        monkeypatch.setattr(Folder, name, stopped(getattr(Folder, name)))
    manifest = release_store.publish(uri, candidate, {}, "slow")
    assert went_on
    assert manifest["version"] == max(release_store.versions(uri)) > 3
    assert check_whole(uri) == manifest["version"]
    assert "2" not in versions_held(uri, "encode")


def test_a_push_goes_on_with_what_it_had_uploaded(uri, candidate, monkeypatch):
    live_on = stop_at(monkeypatch, path="models.config")
    with pytest.raises(Killed):
        release_store.publish(uri, candidate, {"n": 1}, "push")
    live_on()
    Folder(uri).delete(["sample/1/saved_model.pb"])
    assert release_store.publish(uri, candidate, {"n": 2}, "push")["n"] == 1
    assert state(uri) == (1, None, (1,))


def test_files_of_something_else_are_neither_released_nor_replaced(uri, candidate, monkeypatch):
    release_store.publish(uri, candidate, {}, "before")
    live_on = stop_at(monkeypatch, path="models.config")
    with pytest.raises(Killed):
        release_store.publish(uri, candidate, {}, "push")
    live_on()
    Folder(uri).write("sample/2/saved_model.pb", b"something else")
    assert release_store.publish(uri, candidate, {}, "push")["version"] == 3
    assert state(uri) == (3, None, (1, 3))
    assert release_store.versions(uri) == [1, 3]


def test_a_rollback_is_not_undone_by_the_rest_of_a_push(uri, candidate, monkeypatch):
    release_store.publish(uri, candidate, {}, "before")
    live_on = stop_at(monkeypatch, path="releases/latest.json")
    with pytest.raises(Killed):
        release_store.publish(uri, candidate, {}, "push")
    live_on()
    release_store.promote(uri, 1)
    assert release_store.publish(uri, candidate, {}, "push")["version"] == 2
    assert state(uri) == (1, None, (1,))


def test_prune_leaves_a_push_at_work_alone(uri, candidate, monkeypatch):
    for push in "ab":
        release_store.publish(uri, candidate, {}, push)
    live_on = stop_at(monkeypatch, path="models.config")
    with pytest.raises(Killed):
        release_store.publish(uri, candidate, {}, "slow")
    live_on()
    release_store.publish(uri, candidate, {}, "c")
    assert release_store.prune(uri, 1) == [1]
    assert release_store.versions(uri) == [2, 3, 4]
    assert release_store.publish(uri, candidate, {}, "slow")["version"] == 3
    assert release_store.prune(uri, 1) == [3]
    assert state(uri) == (4, None, (2, 4))


def test_what_is_removed_can_be_named_by_nothing(uri, candidate, monkeypatch):
    for push in "abc":
        release_store.publish(uri, candidate, {}, push)
    live_on = stop_at(monkeypatch, path="releases/1.json")
    with pytest.raises(Killed):
        release_store.prune(uri, 1)
    live_on()
    assert release_store.versions(uri) == [2, 3]
    for call in (release_store.promote, release_store.set_canary):
        with pytest.raises(StoreError, match=r"release 1 in .* is being removed; choose another$"):
            call(uri, 1)
    release_store.prune(uri, 1)
    assert versions_held(uri, "encode") == ["2", "3"]
    with pytest.raises(StoreError, match=r"no release 1 in .*; there are: 2, 3$"):
        release_store.promote(uri, 1)


def test_a_store_of_an_older_version_goes_on(uri, candidate):
    for push in "abc":
        release_store.publish(uri, candidate, {}, push)
    store = Folder(uri)
    config = store.read("models.config").split(b"\n", 1)[1]
    store.write("models.config", config)
    store.write("releases/latest.json", b'{"version": 3}')
    for version in (1, 2, 3):
        old_claim(uri, version)
    assert release_store.prune(uri, 1) == [1]
    assert release_store.publish(uri, candidate, {}, "d")["version"] == 4
    assert state(uri) == (4, None, (3, 4))
    assert release_store.versions(uri) == [2, 3, 4]
