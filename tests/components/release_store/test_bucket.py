"""The release store in an object store: whole releases or none, whoever stops when."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from components.errors import PipelineError
from components.object_store.folder import Folder
from components.release_store import bucket
from components.release_store import store as release_store
from components.release_store.release import MODELS, StoreError
from tests.fixtures.release_checks import make_picture
from tests.fixtures.remote_checks import Killed, check_whole, state, stop_at, versions_held
from tests.fixtures.served_versions import models_in


def test_a_release_is_laid_out_as_in_a_folder(s3_uri, candidate):
    manifest = release_store.publish(s3_uri, candidate, {"metrics": {"nmse": 0.5}}, "push")
    assert manifest["version"] == 1
    store = Folder(s3_uri)
    assert store.names() == [
        ".store", "decode", "encode", "evaluate", "models.config", "releases", "sample",
    ]  # fmt: skip
    assert json.loads(store.read("releases/1.json")) == manifest
    assert json.loads(store.read("releases/latest.json"))["version"] == 1
    assert store.read("encode/1/assets/release_version") == b"1"
    assert f'base_path: "{s3_uri}/encode"' in store.read("models.config").decode()


def test_a_reader_gets_the_models_it_asks_for(s3_uri, candidate):
    release_store.publish(s3_uri, candidate, {}, "first")
    release_store.publish(s3_uri, candidate, {}, "second")
    with release_store.opened_stable(s3_uri, ["evaluate"]) as release:
        assert release.version == 2
        assert (release.evaluate / "saved_model.pb").is_file()
        assert not release.encode.exists()
    with release_store.opened(s3_uri, 1, ["encode"]) as release:
        assert (release.encode / "assets/release_version").read_text() == "1"


def test_nothing_released_yet(s3_uri):
    with release_store.opened_stable(s3_uri, MODELS) as release:
        assert release is None


def test_an_unknown_release_is_named(uri, candidate):
    release_store.publish(uri, candidate, {}, "first")
    with pytest.raises(StoreError, match=r"no release 7 in .*; there are: 1$"):
        bucket.fetch(uri, 7, MODELS, candidate["encode"])


def test_a_changed_file_is_damage(uri, candidate):
    release_store.publish(uri, candidate, {}, "first")
    Folder(uri).write("decode/1/saved_model.pb", b"other")
    with (
        pytest.raises(StoreError, match=r"decode/1/saved_model\.pb has changed"),
        release_store.opened(uri, 1, MODELS),
    ):
        pass


def test_an_incomplete_candidate_changes_nothing(uri, candidate):
    (candidate["decode"] / "saved_model.pb").unlink()
    with pytest.raises(StoreError, match="the decode model lacks"):
        release_store.publish(uri, candidate, {}, "push")
    assert Folder(uri).names() == []


def test_the_same_push_releases_once(uri, candidate):
    first = release_store.publish(uri, candidate, {}, "push")
    assert release_store.publish(uri, candidate, {}, "push") == first
    assert check_whole(uri, 1) == 1


def test_a_push_that_was_rolled_back_stays_so(uri, candidate):
    release_store.publish(uri, candidate, {}, "first")
    release_store.publish(uri, candidate, {}, "second")
    release_store.promote(uri, 1)
    release_store.publish(uri, candidate, {}, "second")
    assert state(uri) == (1, None, (1,))


def test_labels_move_as_in_a_folder(uri, candidate, tmp_path):
    picture = make_picture(tmp_path)
    for push, label in enumerate(("canary", "stable", "canary")):
        release_store.publish(uri, candidate, {}, f"push-{push}", label, picture)
    assert state(uri) == (2, 3, (1, 2, 3))
    release_store.publish(uri, candidate, {}, "push-2", "canary")
    assert release_store.set_canary(uri, None).versions == (1, 2)
    assert release_store.set_canary(uri, 3).canary == 3
    release_store.promote(uri, 3)
    assert state(uri) == (3, None, (2, 3))
    assert release_store.prune(uri, 1) == [1]
    assert release_store.versions(uri) == [2, 3]
    store = Folder(uri)
    assert versions_held(uri, "encode") == ["2", "3"]
    assert store.names("releases") == [
        "2.json", "2.md", "2.png", "3.json", "3.md", "3.png", "latest.json",
    ]  # fmt: skip
    assert store.read("releases/3.png") == picture.read_bytes()
    assert b"](3.png)" in store.read("releases/3.md")
    release_store.promote(uri, 2)
    assert state(uri) == (2, None, (2,))


def test_a_release_that_is_not_whole_is_not_served(uri, candidate):
    for push in "ab":
        release_store.publish(uri, candidate, {}, push)
    Folder(uri).delete(["decode/1/saved_model.pb"])
    for call in (release_store.promote, release_store.set_canary):
        with pytest.raises(StoreError, match=r"release 1 in .* is damaged: decode/1/saved_model"):
            call(uri, 1)
        with pytest.raises(StoreError, match=r"no release 7 in .*; there are: 1, 2$"):
            call(uri, 7)
    assert release_store.served(uri).versions == (1, 2)


def test_a_slower_writer_takes_no_label_back(uri, candidate, monkeypatch):
    release_store.publish(uri, candidate, {}, "first")
    live_on = stop_at(monkeypatch, path="releases/2.json")
    with pytest.raises(Killed):
        release_store.publish(uri, candidate, {}, "slow")
    live_on()
    release_store.publish(uri, candidate, {}, "canary", "canary")
    assert release_store.publish(uri, candidate, {}, "slow")["version"] == 2
    assert state(uri) == (1, 3, (1, 3))


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_promotion_killed_at_any_write(uri, candidate, monkeypatch, step):
    for push, label in enumerate(("stable", "stable", "canary")):
        release_store.publish(uri, candidate, {}, f"push-{push}", label)
    live_on = stop_at(monkeypatch, step)
    try:
        release_store.promote(uri, 3)
    except Killed:
        assert step < 4
    live_on()
    assert check_whole(uri) == (2 if step < 3 else 3)
    release_store.promote(uri, 3)
    assert state(uri) == (3, None, (2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("label", ["stable", "canary"])
def test_killed_at_any_write_nothing_half_is_seen_and_a_retry_completes(
    uri, candidate, monkeypatch, tmp_path, label
):
    picture = make_picture(tmp_path)
    release_store.publish(uri, candidate, {}, "before")
    count = 0
    while True:
        count += 1
        live_on = stop_at(monkeypatch, count)
        try:
            release_store.publish(uri, candidate, {"n": count}, f"push-{count}", label, picture)
        except Killed:
            pass
        else:
            break
        finally:
            live_on()
        decided = check_whole(uri)
        manifest = release_store.publish(
            uri, candidate, {"n": count}, f"push-{count}", label, picture
        )
        version = manifest["version"]
        assert version >= decided
        before = release_store.served(uri).previous or 1
        assert state(uri) == (
            (1, version, (1, version)) if label == "canary" else (version, None, (before, version))
        )
    assert count > 10  # it was killed at each of them before


def test_writers_at_once_get_versions_of_their_own(s3_uri, candidate):
    with ThreadPoolExecutor(3) as pool:
        made = list(
            pool.map(
                lambda n: release_store.publish(s3_uri, candidate, {"n": n}, f"push-{n}"), range(3)
            )
        )
    assert sorted(manifest["version"] for manifest in made) == [1, 2, 3]
    assert check_whole(s3_uri) in (1, 2, 3)
    for version in range(1, 4):
        with release_store.opened(s3_uri, version, MODELS) as release:
            assert release.version == version


def test_what_a_killed_writer_left_is_removed_after_a_day(uri, candidate, monkeypatch):
    live_on = stop_at(monkeypatch, path="sample/1/")
    with pytest.raises(Killed):
        release_store.publish(uri, candidate, {}, "killed")
    live_on()
    store = Folder(uri)
    assert versions_held(uri, "encode") == ["1"]
    release_store.publish(uri, candidate, {}, "next day")
    assert versions_held(uri, "encode") == ["1", "2"]
    claim = {"push_id": "killed", "claimed": "2001-01-01T00:00:00+00:00"}
    store.write(".store/claims/1.json", json.dumps(claim).encode())
    release_store.publish(uri, candidate, {}, "later")
    assert versions_held(uri, "encode") == ["2", "3"]
    check_whole(uri, 3)


def test_a_failed_upload_is_taken_back(uri, candidate, monkeypatch):
    def refuse(self, files, replace=True):
        if any(name.startswith("sample/") for name in files):
            raise PipelineError("object store: full")
        put(self, files, replace)

    release_store.publish(uri, candidate, {}, "before")
    put = Folder.put
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "put", refuse)
        with pytest.raises(PipelineError, match="full"):
            release_store.publish(uri, candidate, {}, "push")
    assert {name for model in MODELS for name in versions_held(uri, model)} == {"1"}
    assert release_store.publish(uri, candidate, {}, "push")["version"] == 3
    assert state(uri) == (3, None, (1, 3))


def test_a_release_that_names_files_elsewhere_is_refused(uri, candidate, tmp_path):
    manifest = release_store.publish(uri, candidate, {}, "push")
    manifest["files"]["encode/../../../../outside"] = "0" * 64
    Folder(uri).write("releases/1.json", json.dumps(manifest).encode())
    Folder(uri)._files.pipe_file("bucket/outside", b"x")
    with pytest.raises(PipelineError, match="no path below that folder"):
        bucket.fetch(uri, 1, ["encode"], tmp_path / "deep/er/target")
    assert not [path for path in tmp_path.rglob("*") if path.name == "outside"]


def test_servers_read_what_is_beside_the_models_as_a_comment(uri, candidate):
    for push in "ab":
        release_store.publish(uri, candidate, {}, push)
    text = Folder(uri).read("models.config").decode()
    assert text.startswith("# decision ")
    assert "; pushed 1-2; removed \n" in text
    assert list(models_in(text)) == ["encode", "decode", "sample"]
