"""The release store: whole releases only, and clear words where that is not to be had."""

import json
import resource
import shutil

import pytest

from components.release_store import folder as folder_store
from components.release_store.check import differences
from components.release_store.release import MODELS, SERVED, StoreError
from components.release_store.store import plan
from tests.fixtures.release_checks import (
    check_clean,
    check_pointers,
    make_candidate,
    make_picture,
    visible,
)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "serving"


# What a release is


def test_first_release_has_the_documented_layout(store, candidate):
    release = folder_store.publish(store, candidate, {"metrics": {"nmse": 0.03}}, "a")
    assert release.version == 1
    for model in MODELS:
        for source in (path for path in candidate[model].rglob("*") if path.is_file()):
            copy = store / model / "1" / source.relative_to(candidate[model])
            if source.name != "release_version":
                assert copy.read_bytes() == source.read_bytes()
    for model in SERVED:
        assert (store / model / "1/assets/release_version").read_text() == "1"
        assert (candidate[model] / "assets/release_version").read_text() == "0"
    assert json.loads((store / "releases/latest.json").read_text()) == {"version": 1}
    manifest = json.loads((store / "releases/1.json").read_text())
    assert manifest == release.manifest
    assert manifest["metrics"] == {"nmse": 0.03}
    assert manifest["push_id"] == "a"
    assert manifest["created"].endswith("+00:00")
    assert len(manifest["files"]) == 4 * 3 + 3
    assert release.decode == store / "decode/1"
    check_clean(store, [1])


def test_a_picture_is_part_of_the_release(store, candidate, tmp_path):
    picture = make_picture(tmp_path)
    release = folder_store.publish(store, candidate, {}, picture=picture)
    assert (store / "releases/1.png").read_bytes() == picture.read_bytes()
    assert "](1.png)" in (store / "releases/1.md").read_text()
    assert differences(release) == []
    (store / "releases/1.png").write_bytes(b"another")
    assert differences(release) == ["releases/1.png has changed"]
    (store / "releases/1.png").unlink()
    assert differences(release) == ["releases/1.png is missing"]
    folder_store.publish(store, candidate, {})
    assert not (store / "releases/2.png").exists()
    assert ".png" not in (store / "releases/2.md").read_text()


def test_versions_grow_and_old_releases_stay(store, candidate, tmp_path):
    other = make_candidate(tmp_path / "other", seed=1)
    assert folder_store.latest(store) is None
    versions = [folder_store.publish(store, c, {}).version for c in (candidate, other, candidate)]
    assert versions == [1, 2, 3]
    assert folder_store.latest(store).version == 3
    assert [differences(folder_store.get(store, v)) for v in versions] == [[], [], []]


def test_versions_are_never_reused(store, candidate):
    folder_store.publish(store, candidate, {})
    folder_store.publish(store, candidate, {})
    folder_store.promote(store, 1)
    for model in MODELS:
        shutil.rmtree(store / model / "2")
    (store / "releases/2.json").unlink()
    assert folder_store.publish(store, candidate, {}).version == 3


def test_store_ignores_and_keeps_what_others_put_there(store, candidate):
    (store / "encode/41").mkdir(parents=True)
    (store / "encode/41/mine").write_text("mine")
    assert folder_store.publish(store, candidate, {}).version == 42
    assert (store / "encode/41/mine").read_text() == "mine"


def test_relative_path_of_the_store(candidate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    release = folder_store.publish("serving", candidate, {})
    assert release.encode == tmp_path / "serving/encode/1"
    assert f'"{tmp_path}/serving/encode"' in (tmp_path / "serving/models.config").read_text()


def test_same_push_is_released_once(store, candidate, tmp_path):
    first = folder_store.publish(store, candidate, {}, "a")
    before = visible(store)
    again = folder_store.publish(store, make_candidate(tmp_path / "other", 1), {}, "a")
    assert again == first
    assert visible(store) == before
    folder_store.publish(store, candidate, {}, "b")
    assert folder_store.publish(store, candidate, {}, "a").version == 1
    assert folder_store.latest(store).version == 2
    # Pushes without a name are all different.
    assert folder_store.publish(store, candidate, {}).version == 3
    assert folder_store.publish(store, candidate, {}).version == 4


# What is refused


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "part",
    ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"],
)
def test_incomplete_candidate_is_refused(store, candidate, model, part):
    folder_store.publish(store, candidate, {})
    before = visible(store)
    (candidate[model] / part).unlink()
    with pytest.raises(StoreError, match=f"nothing released: the {model} model lacks .*{part}"):
        folder_store.publish(store, candidate, {})
    assert visible(store) == before


def test_missing_shard_is_noticed(store, candidate):
    variables = candidate["encode"] / "variables"
    data = variables / "variables.data-00000-of-00001"
    data.rename(variables / "variables.data-00000-of-00002")
    with pytest.raises(StoreError, match=r"variables.data-00001-of-00002"):
        folder_store.publish(store, candidate, {})


def test_facts_that_are_not_json_change_nothing(store, candidate):
    folder_store.publish(store, candidate, {})
    before = visible(store)
    with pytest.raises(ValueError, match="JSON"):
        folder_store.publish(store, candidate, {"metrics": float("nan")})
    assert visible(store) == before
    assert folder_store.publish(store, candidate, {}).version == 2


def test_full_disk_changes_nothing(store, candidate, tmp_path):
    """The system refuses a write half-way, as it does when a disk or a quota is full."""
    folder_store.publish(store, candidate, {})
    before = visible(store)
    big = make_candidate(tmp_path / "big", size=300_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"cannot be written: .*; what was released before"):
            folder_store.publish(store, big, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert visible(store) == before
    assert folder_store.publish(store, big, {}).version == 2
    check_clean(store, [1, 2])


def test_place_that_cannot_be_written(candidate, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"release store .* cannot be written"):
        folder_store.publish(tmp_path / "file/serving", candidate, {})


def test_object_store_is_refused_clearly(candidate):
    with pytest.raises(StoreError, match="gs://bucket/serving: this command needs a folder"):
        folder_store.publish("gs://bucket/serving", candidate, {})


# Damaged stores


def test_latest_that_is_not_json(store, candidate):
    folder_store.publish(store, candidate, {})
    for text in ("", "{", "[]", "{}", '{"version": "x"}'):
        (store / "releases/latest.json").write_text(text)
        with pytest.raises(StoreError, match=r"latest.json: not of the form .*there are: 1"):
            folder_store.latest(store)
    folder_store.promote(store, 1)
    assert folder_store.latest(store).version == 1


def test_latest_that_names_a_missing_release(store, candidate):
    folder_store.publish(store, candidate, {})
    (store / "releases/latest.json").write_text('{"version": 7}')
    with pytest.raises(StoreError, match=r"names release 7, but no release 7 in .*there are: 1"):
        folder_store.latest(store)


def test_release_with_a_part_missing(store, candidate):
    folder_store.publish(store, candidate, {})
    folder_store.publish(store, candidate, {})
    shutil.rmtree(store / "decode/1")
    with pytest.raises(StoreError, match=r"release 1 is damaged: .*decode/1/saved_model.pb is mis"):
        folder_store.get(store, 1)
    with pytest.raises(StoreError, match="damaged"):
        folder_store.promote(store, 1)
    assert folder_store.latest(store).version == 2
    assert folder_store.publish(store, candidate, {}, "c").version == 3


def test_manifest_that_is_not_json(store, candidate):
    folder_store.publish(store, candidate, {})
    for text in ("{", "[]", '{"version": 2}'):
        (store / "releases/1.json").write_text(text)
        with pytest.raises(StoreError, match=r"release 1 is damaged: .*1.json"):
            folder_store.get(store, 1)


def test_verify_names_what_differs(store, candidate):
    release = folder_store.publish(store, candidate, {})
    (release.encode / "saved_model.pb").write_bytes(b"other")
    (release.decode / "extra").write_bytes(b"")
    (release.sample / "assets/release_version").unlink()
    assert sorted(differences(release)) == [
        "decode/extra does not belong to it",
        "encode/saved_model.pb has changed",
        "sample/assets/release_version is missing",
    ]
    with pytest.raises(StoreError, match=r"release 1 in .* is damaged"):
        folder_store.promote(store, 1)


# Removal


def test_prune_keeps_the_newest_and_what_a_pointer_names(store, candidate):
    for _ in range(5):
        folder_store.publish(store, candidate, {})
    assert folder_store.prune(store, 5) == []
    folder_store.promote(store, 2)
    assert folder_store.prune(store, 1) == [1, 3, 4]
    assert check_pointers(store) == {2}
    check_clean(store, [2, 5])
    assert folder_store.prune(store, 1) == []
    assert folder_store.publish(store, candidate, {}).version == 6


def test_prune_keeps_all_that_is_served(store, candidate, tmp_path):
    for _ in range(6):
        folder_store.publish(store, candidate, {}, picture=make_picture(tmp_path))
    folder_store.promote(store, 2)
    folder_store.promote(store, 4)
    folder_store.set_canary(store, 1)
    assert folder_store.prune(store, 1) == [3, 5]
    check_clean(store, [1, 2, 4, 6])
    folder_store.set_canary(store, None)
    assert folder_store.prune(store, 1) == [1]
    assert check_pointers(store) == {2, 4}


def test_prune_removes_nothing_where_the_pointer_cannot_be_read(store, candidate):
    for _ in range(3):
        folder_store.publish(store, candidate, {})
    (store / "releases/latest.json").write_text("{")
    with pytest.raises(StoreError, match=r"latest\.json"):
        folder_store.prune(store, 1)
    assert folder_store.versions(store) == [1, 2, 3]


def test_prune_keeps_at_least_one(store, candidate):
    folder_store.publish(store, candidate, {})
    with pytest.raises(StoreError, match="at least 1"):
        folder_store.prune(store, 0)
    assert folder_store.prune(store.with_name("nowhere"), 1) == []
    assert not store.with_name("nowhere").exists()


# The plan of a run


def test_plan_finishes_what_a_killed_push_had_decided(store, candidate):
    folder_store.publish(store, candidate, {"run_key": "old"}, "a")
    facts = {"run_key": "key", "baseline": 1, "baseline_requested": 1}
    folder_store.publish(store, candidate, facts, "b")
    # As it is after a kill between models.config and latest.json.
    (store / "releases/latest.json").write_text('{"version": 1}')
    journal = {"last_version": 2, "pending": 2, "publishes": True}
    (store / ".store/journal.json").write_text(json.dumps(journal))
    assert plan(store, "key") == (1, "b")
    assert folder_store.latest(store).version == 2
