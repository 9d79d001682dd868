"""The release store in an object store: whole releases or none, whoever stops when."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from object_stores import s3_server
from release_checks import make_candidate, make_picture

from components import releases, remote_releases
from components.errors import PipelineError
from components.object_store import Folder
from components.release import MODELS, StoreError


@pytest.fixture(scope="module", autouse=True)
def server():
    with s3_server("bucket") as address:
        yield address


@pytest.fixture
def uri(request):
    return f"s3://bucket/{request.node.name}"


@pytest.fixture
def candidate(tmp_path):
    return make_candidate(tmp_path / "candidate")


class Killed(BaseException):
    """The process ends here."""


def stop_at(monkeypatch, count):
    """The writer is killed before its `count`th write; returns how to let writers live again."""
    done = 0

    def counted(method):
        def call(self, *args, **kwargs):
            nonlocal done
            done += 1
            if done >= count:
                raise Killed
            return method(self, *args, **kwargs)

        return call

    patch = monkeypatch.context()
    context = patch.__enter__()
    for name in ("write", "create", "put", "delete"):
        context.setattr(Folder, name, counted(getattr(Folder, name)))
    return lambda: patch.__exit__(None, None, None)


def check_whole(uri, expected=None):
    """What the pointers name is there, whole and unchanged; returns the stable version."""
    with releases.opened(uri, releases.LATEST, []) as release:
        version = release.version if release else None
    served = releases.served(uri)
    assert (served and served.stable) == version
    for each in served.versions if served else ():
        with releases.opened(uri, each, MODELS):
            pass
    if expected is not None:
        assert version == expected
    return version


def state(uri):
    """stable, canary, all that is loaded; and the pointer for readers agrees."""
    served = releases.served(uri)
    check_whole(uri, served.stable)
    assert json.loads(Folder(uri).read("releases/latest.json")) == {"version": served.stable}
    return served.stable, served.canary, served.versions


def test_a_release_is_laid_out_as_in_a_folder(uri, candidate):
    manifest = releases.publish(uri, candidate, {"metrics": {"nmse": 0.5}}, "push")
    assert manifest["version"] == 1
    store = Folder(uri)
    assert store.names() == [
        ".store", "decode", "encode", "evaluate", "models.config", "releases", "sample",
    ]  # fmt: skip
    assert json.loads(store.read("releases/1.json")) == manifest
    assert json.loads(store.read("releases/latest.json")) == {"version": 1}
    assert store.read("encode/1/assets/release_version") == b"1"
    assert f'base_path: "{uri}/encode"' in store.read("models.config").decode()


def test_a_reader_gets_the_models_it_asks_for(uri, candidate):
    releases.publish(uri, candidate, {}, "first")
    releases.publish(uri, candidate, {}, "second")
    with releases.opened(uri, releases.LATEST, ["evaluate"]) as release:
        assert release.version == 2
        assert (release.evaluate / "saved_model.pb").is_file()
        assert not release.encode.exists()
    with releases.opened(uri, 1, ["encode"]) as release:
        assert (release.encode / "assets/release_version").read_text() == "1"


def test_nothing_released_yet(uri):
    with releases.opened(uri, releases.LATEST, MODELS) as release:
        assert release is None


def test_an_unknown_release_is_named(uri, candidate):
    releases.publish(uri, candidate, {}, "first")
    with pytest.raises(StoreError, match=r"no release 7 in .*; there are: 1$"):
        remote_releases.fetch(uri, 7, MODELS, candidate["encode"])


def test_a_changed_file_is_damage(uri, candidate):
    releases.publish(uri, candidate, {}, "first")
    Folder(uri).write("decode/1/saved_model.pb", b"other")
    with (
        pytest.raises(StoreError, match=r"decode/1/saved_model\.pb has changed"),
        releases.opened(uri, 1, MODELS),
    ):
        pass


def test_an_incomplete_candidate_changes_nothing(uri, candidate):
    (candidate["decode"] / "saved_model.pb").unlink()
    with pytest.raises(StoreError, match="the decode model lacks"):
        releases.publish(uri, candidate, {}, "push")
    assert Folder(uri).names() == []


def test_the_same_push_releases_once(uri, candidate):
    first = releases.publish(uri, candidate, {}, "push")
    assert releases.publish(uri, candidate, {}, "push") == first
    assert check_whole(uri, 1) == 1


def test_a_push_that_was_rolled_back_stays_so(uri, candidate):
    releases.publish(uri, candidate, {}, "first")
    releases.publish(uri, candidate, {}, "second")
    releases.promote(uri, 1)
    releases.publish(uri, candidate, {}, "second")
    assert state(uri) == (1, None, (1,))


def test_labels_move_as_in_a_folder(uri, candidate, tmp_path):
    picture = make_picture(tmp_path)
    for push, label in enumerate(("canary", "stable", "canary")):
        releases.publish(uri, candidate, {}, f"push-{push}", label, picture)
    assert state(uri) == (2, 3, (1, 2, 3))
    releases.publish(uri, candidate, {}, "push-2", "canary")
    assert releases.set_canary(uri, None).versions == (1, 2)
    assert releases.set_canary(uri, 3).canary == 3
    releases.promote(uri, 3)
    assert state(uri) == (3, None, (2, 3))
    assert releases.prune(uri, 1) == [1]
    assert releases.versions(uri) == [2, 3]
    store = Folder(uri)
    assert store.names("encode") == ["2", "3"]
    assert store.names("releases") == [
        "2.json", "2.md", "2.png", "3.json", "3.md", "3.png", "latest.json",
    ]  # fmt: skip
    assert store.read("releases/3.png") == picture.read_bytes()
    assert b"](3.png)" in store.read("releases/3.md")
    releases.promote(uri, 2)
    assert state(uri) == (2, None, (2,))


def test_a_release_that_is_not_whole_is_not_served(uri, candidate):
    for push in "ab":
        releases.publish(uri, candidate, {}, push)
    Folder(uri).delete(["decode/1/saved_model.pb"])
    for call in (releases.promote, releases.set_canary):
        with pytest.raises(StoreError, match=r"release 1 in .* is damaged: decode/1/saved_model"):
            call(uri, 1)
        with pytest.raises(StoreError, match=r"no release 7 in .*; there are: 1, 2$"):
            call(uri, 7)
    assert releases.served(uri).versions == (1, 2)


def test_a_slower_writer_takes_no_label_back(uri, candidate, monkeypatch):
    releases.publish(uri, candidate, {}, "first")
    live_on = stop_at(monkeypatch, 8)  # claim, note, four models, card, manifest
    with pytest.raises(Killed):
        releases.publish(uri, candidate, {}, "slow")
    live_on()
    releases.publish(uri, candidate, {}, "canary", "canary")
    assert releases.publish(uri, candidate, {}, "slow")["version"] == 2
    assert state(uri) == (1, 3, (1, 3))


@pytest.mark.parametrize("step", [1, 2, 3])
def test_promotion_killed_at_any_write(uri, candidate, monkeypatch, step):
    for push, label in enumerate(("stable", "stable", "canary")):
        releases.publish(uri, candidate, {}, f"push-{push}", label)
    live_on = stop_at(monkeypatch, step)
    try:
        releases.promote(uri, 3)
    except Killed:
        assert step < 3
    live_on()
    assert check_whole(uri) == (2 if step == 1 else 3)
    releases.promote(uri, 3)
    assert state(uri) == (3, None, (2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("label", ["stable", "canary"])
def test_killed_at_any_write_nothing_half_is_seen_and_a_retry_completes(
    uri, candidate, monkeypatch, tmp_path, label
):
    picture = make_picture(tmp_path)
    releases.publish(uri, candidate, {}, "before")
    count = 0
    while True:
        count += 1
        live_on = stop_at(monkeypatch, count)
        try:
            releases.publish(uri, candidate, {"n": count}, f"push-{count}", label, picture)
        except Killed:
            pass
        else:
            break
        finally:
            live_on()
        decided = check_whole(uri)
        manifest = releases.publish(uri, candidate, {"n": count}, f"push-{count}", label, picture)
        version = manifest["version"]
        assert version >= decided
        before = releases.served(uri).previous or 1
        assert state(uri) == (
            (1, version, (1, version)) if label == "canary" else (version, None, (before, version))
        )
    assert count > 10  # it was killed at each of them before


def test_writers_at_once_get_versions_of_their_own(uri, candidate):
    with ThreadPoolExecutor(4) as pool:
        made = list(
            pool.map(lambda n: releases.publish(uri, candidate, {"n": n}, f"push-{n}"), range(4))
        )
    assert sorted(manifest["version"] for manifest in made) == [1, 2, 3, 4]
    assert check_whole(uri) in (1, 2, 3, 4)
    for version in range(1, 5):
        with releases.opened(uri, version, MODELS) as release:
            assert release.version == version


def test_what_a_killed_writer_left_is_removed_after_a_day(uri, candidate, monkeypatch):
    live_on = stop_at(monkeypatch, 5)  # claim, note, two models
    with pytest.raises(Killed):
        releases.publish(uri, candidate, {}, "killed")
    live_on()
    store = Folder(uri)
    assert store.names("encode") == ["1"]
    releases.publish(uri, candidate, {}, "next day")
    assert store.names("encode") == ["1", "2"]
    claim = {"push_id": "killed", "claimed": "2001-01-01T00:00:00+00:00"}
    store.write(".store/claims/1.json", json.dumps(claim).encode())
    releases.publish(uri, candidate, {}, "later")
    assert store.names("encode") == ["2", "3"]
    check_whole(uri, 3)


def test_a_failed_upload_is_taken_back(uri, candidate, monkeypatch):
    def refuse(self, files):
        if any(name.startswith("sample/") for name in files):
            raise PipelineError("object store: full")
        put(self, files)

    put = Folder.put
    monkeypatch.setattr(Folder, "put", refuse)
    with pytest.raises(PipelineError, match="full"):
        releases.publish(uri, candidate, {}, "push")
    assert Folder(uri).names() == [".store"]
