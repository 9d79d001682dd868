"""What a run decides before it starts, from a store in a folder or in an object store."""

from __future__ import annotations

import pytest

from components.release_store import store as release_store
from tests.fixtures.object_stores import s3_server
from tests.fixtures.release_checks import make_candidate


@pytest.fixture
def candidate(tmp_path):
    return make_candidate(tmp_path / "candidate", size=50)


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    if request.param == "folder":
        yield str(tmp_path / "serving")
        return
    with s3_server("bucket"):
        yield "s3://bucket/serving"


def test_plan_of_a_first_run(store):
    baseline, push_id = release_store.plan(store, "key")
    assert baseline == 0
    assert push_id != release_store.plan(store, "key")[1]
    assert release_store.versions(store) == []


def test_plan_of_a_repetition_is_that_of_the_run_that_released(store, candidate):
    facts = {"run_key": "key", "baseline": 0, "baseline_requested": 0}
    release_store.publish(store, candidate, facts, "a")
    assert release_store.plan(store, "key") == (0, "a")
    baseline, push_id = release_store.plan(store, "other key")
    assert baseline == 1
    assert push_id != "a"
    assert release_store.plan(store, "")[0] == 1
    facts = {"run_key": "other key", "baseline": 1, "baseline_requested": 1}
    release_store.publish(store, candidate, facts, push_id)
    assert release_store.plan(store, "other key") == (1, push_id)
    assert release_store.plan(store, "key")[0] == 2


def test_plan_knows_the_run_that_made_the_canary(store, candidate):
    release_store.publish(store, candidate, {"run_key": "old", "baseline_requested": 0}, "a")
    facts = {"run_key": "key", "baseline": 1, "baseline_requested": 1}
    release_store.publish(store, candidate, facts, "b", "canary")
    assert release_store.plan(store, "key") == (1, "b")
    assert release_store.plan(store, "old") == (0, "a")
    # Another run is compared with the stable release.
    assert release_store.plan(store, "other")[0] == 1
    release_store.promote(store, 2)
    assert release_store.plan(store, "key") == (1, "b")
    assert release_store.plan(store, "other")[0] == 2
    release_store.promote(store, 1)
    baseline, push_id = release_store.plan(store, "key")
    assert baseline == 1
    assert push_id != "b"
