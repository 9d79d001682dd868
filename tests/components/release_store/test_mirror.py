"""The mirror of a release store in a bucket: what it holds, keeps, removes, mends and refuses."""

from __future__ import annotations

import os
import resource
import time
import uuid

import pytest

from components.errors import PipelineError
from components.object_store.folder import Folder
from components.release_store import folder as folder_store
from components.release_store import layout
from components.release_store import store as release_store
from components.release_store.copies import ReleaseCopies
from components.release_store.mirror import mirroring
from components.release_store.release import SERVED, StoreError
from tests.fixtures.mirror_reader import MirrorReader
from tests.fixtures.release_checks import make_candidate


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def reader(uri, folder):
    return MirrorReader(uri, folder)


@pytest.fixture
def push(uri, candidate):
    def push(*labels):
        for label in labels:
            release_store.publish(uri, candidate, {}, uuid.uuid4().hex, label)

    return push


def update(uri, folder, **options):
    with mirroring(uri, folder, **options) as mirror:
        return mirror.update()


def there(folder):
    """Versions of which any model has a folder."""
    return {int(path.name) for model in SERVED for path in (folder / model).iterdir()}


def age(folder, version, seconds):
    for model in SERVED:
        when = time.time() - seconds
        os.utime(folder / model / str(version), (when, when))


def test_it_holds_what_servers_are_told_to_load_and_no_more(uri, folder, reader, push):
    push("stable", "stable", "stable", "canary")
    held = update(uri, folder)
    assert held.served == release_store.served(uri)
    assert held.left_out == {}
    assert reader.look() == ({2, 3, 4}, {"stable": 3, "canary": 4})
    assert {path.name for path in folder.iterdir()} == {*SERVED, "models.config", ".mirror"}
    assert there(folder) == {2, 3, 4}
    assert (folder / "encode/3/assets/release_version").read_text() == "3"
    assert list((folder / ".mirror/staging").iterdir()) == []


def test_paths_are_those_of_the_server(uri, folder, push):
    push("stable")
    update(uri, folder, server_path="/models")
    assert MirrorReader(uri, folder, "/models").look() == ({1}, {"stable": 1})
    update(uri, folder)
    assert MirrorReader(uri, folder).look() == ({1}, {"stable": 1})


def test_labels_are_followed(uri, folder, reader, push):
    push("stable")
    with mirroring(uri, folder) as mirror:
        seen = []
        for change in (
            lambda: None,
            lambda: push("stable"),
            lambda: push("canary"),
            lambda: release_store.promote(uri, 3),
            lambda: release_store.promote(uri, 1),
            lambda: release_store.set_canary(uri, 2),
            lambda: release_store.set_canary(uri, None),
        ):
            change()
            mirror.update()
            seen.append(reader.look())
    assert seen == [
        ({1}, {"stable": 1}),
        ({1, 2}, {"stable": 2}),
        ({1, 2, 3}, {"stable": 2, "canary": 3}),
        ({2, 3}, {"stable": 3}),
        ({1}, {"stable": 1}),
        ({1, 2}, {"stable": 1, "canary": 2}),
        ({1}, {"stable": 1}),
    ]


def test_nothing_is_written_for_servers_before_the_first_release(uri, folder, reader, push):
    with mirroring(uri, folder) as mirror:
        assert mirror.update() is None
        assert reader.look() is None
        push("stable")
        assert mirror.update().served.stable == 1
        assert reader.look() == ({1}, {"stable": 1})


def test_a_version_stays_for_the_grace_after_it_is_named_no_more(uri, folder, reader, push):
    push("stable", "stable")
    update(uri, folder)
    age(folder, 1, 10_000)  # it was copied long ago
    push("stable")
    for _ in range(2):
        update(uri, folder, grace_seconds=600)
        assert reader.look() == ({2, 3}, {"stable": 3})
        assert there(folder) == {1, 2, 3}  # servers may not have looked yet
    age(folder, 2, 10_000)  # never one that is named
    age(folder, 1, 590)
    update(uri, folder, grace_seconds=600)
    assert there(folder) == {1, 2, 3}
    age(folder, 1, 610)
    with mirroring(uri, folder, grace_seconds=600) as mirror:
        mirror.update()
        assert there(folder) == {2, 3}
        release_store.promote(uri, 1)  # and back
        mirror.update()
    assert reader.look() == ({1}, {"stable": 1})


def test_room_is_made_before_copies_are(uri, folder, push, monkeypatch):
    push("stable", "stable")
    update(uri, folder)
    push("stable")
    with mirroring(uri, folder, grace_seconds=0) as mirror:
        mirror.update()
        assert there(folder) == {1, 2, 3}
        push("stable")
        fetch = ReleaseCopies.fetch

        def fetch_with_room(*args):
            assert 1 not in there(folder)
            fetch(*args)

        monkeypatch.setattr(ReleaseCopies, "fetch", fetch_with_room)
        mirror.update()


@pytest.mark.parametrize("damage", ["changed", "cut", "beside", "gone", "a model gone"])
def test_a_copy_that_is_not_whole_is_made_anew_at_the_start(uri, folder, reader, push, damage):
    push("stable")
    update(uri, folder)
    file = folder / "decode/1/saved_model.pb"
    if damage == "changed":
        file.write_bytes(b"x" * file.stat().st_size)
    elif damage == "cut":
        os.truncate(file, 10)
    elif damage == "beside":
        (folder / "decode/1/other").touch()
    elif damage == "gone":
        file.unlink()
    else:
        (folder / "decode/1").rename(folder / ".mirror/staging/x")
    with pytest.raises(AssertionError):
        reader.look()
    update(uri, folder)
    assert reader.look() == ({1}, {"stable": 1})
    assert list((folder / ".mirror/staging").iterdir()) == []


def test_a_copy_that_somebody_removes_comes_back(uri, folder, reader, push):
    push("stable")
    with mirroring(uri, folder) as mirror:
        mirror.update()
        (folder / "decode/1").rename(folder / ".mirror/staging/x")
        mirror.update()
        assert reader.look() == ({1}, {"stable": 1})


@pytest.mark.parametrize("label", ["stable", "canary"])
def test_a_damaged_release_is_not_mirrored(uri, folder, reader, push, label):
    push("stable", "stable")
    update(uri, folder)
    push(label)
    store = Folder(uri)
    good = store.read("sample/3/saved_model.pb")
    store.write("sample/3/saved_model.pb", b"other")
    with mirroring(uri, folder) as mirror:
        with pytest.raises(StoreError, match=r"release 3 in .* is damaged: sample/3/saved_model"):
            mirror.update()
        assert reader.look() == ({1, 2}, {"stable": 2})
        store.write("sample/3/saved_model.pb", good)
        mirror.update()
        assert 3 in reader.look()[0]


def test_a_damaged_release_without_a_label_is_left_out_until_it_is_mended(
    uri, folder, reader, push
):
    push("stable", "stable")
    store = Folder(uri)
    good = store.read("encode/1/saved_model.pb")
    store.write("encode/1/saved_model.pb", b"other")
    with mirroring(uri, folder) as mirror:
        held = mirror.update()
        assert held.served.versions == (2,)
        assert "release 1 in memory://" in held.left_out[1]
        assert reader.look() == ({2}, {"stable": 2})
        store.write("encode/1/saved_model.pb", good)
        assert mirror.update().left_out == {}
        assert reader.look() == ({1, 2}, {"stable": 2})
    # What servers have loaded is not taken from them for this.
    store.write("encode/1/saved_model.pb", b"other")
    (folder / "encode/1/saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(StoreError, match="release 1 in"):
        update(uri, folder)
    assert release_store.served(uri) == layout.served(folder)


def test_a_release_that_is_removed_while_it_is_copied_is_no_failure(
    uri, folder, reader, push, monkeypatch
):
    push("stable", "stable", "canary")
    fetch = ReleaseCopies.fetch

    def fetch_too_late(self, model, version):
        if (model, version) == ("sample", 3) and 3 in release_store.versions(uri):
            release_store.set_canary(uri, None)
            push("stable", "stable", "stable")
            release_store.prune(uri, 1)
        fetch(self, model, version)

    monkeypatch.setattr(ReleaseCopies, "fetch", fetch_too_late)
    assert update(uri, folder).served.versions == (5, 6)
    assert reader.look() == ({5, 6}, {"stable": 6})


def test_a_store_that_is_emptied_takes_nothing_from_servers(uri, folder, reader, push):
    push("stable")
    with mirroring(uri, folder) as mirror:
        mirror.update()
        Folder(uri).delete(["models.config"])
        with pytest.raises(StoreError, match="holds no releases any more"):
            mirror.update()
        Folder(uri).write("models.config", b"\xff")
        with pytest.raises(StoreError, match=r"models\.config: names no release"):
            mirror.update()
    assert reader.look() == ({1}, {"stable": 1})


def test_a_full_disk_changes_nothing_and_is_named(uri, folder, reader, push, tmp_path):
    push("stable")
    update(uri, folder)
    release_store.publish(uri, make_candidate(tmp_path / "large", size=100_000), {}, "large")
    child = os.fork()
    if child == 0:
        # The kernel takes no more than this of any file: a disk's end.
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            update(uri, folder)
        except PipelineError as error:
            os._exit(0 if "make room on this machine's disk" in str(error) else 2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert reader.look() == ({1}, {"stable": 1})
    assert list((folder / ".mirror/staging").iterdir()) == []
    update(uri, folder)
    assert reader.look() == ({1, 2}, {"stable": 2})


def test_a_folder_that_cannot_be_written_is_named(uri, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"the mirror .*/file/models cannot be written: .*/file"):
        update(uri, tmp_path / "file/models")


def test_one_process_at_a_time(uri, folder):
    with (
        mirroring(uri, folder),
        pytest.raises(StoreError, match="another process mirrors to it"),
        mirroring(uri, folder),
    ):
        pass
    with mirroring(uri, folder):
        pass


def test_a_folder_is_a_mirror_of_one_store_and_of_nothing_else(uri, folder, push, tmp_path):
    push("stable")
    folder.mkdir()
    (folder / "lost+found").mkdir()
    update(uri, folder)
    with pytest.raises(StoreError, match=f"is a mirror of {uri}, whose versions are other"):
        update(uri + "-2", folder)
    with pytest.raises(StoreError, match=r"candidate: is no mirror and holds decode; name a"):
        update(uri, tmp_path / "candidate")
    assert not (tmp_path / "candidate/.mirror").exists()
    with pytest.raises(StoreError, match="servers read a folder without a mirror"):
        update(str(tmp_path / "store"), folder)


def test_a_mirror_is_no_release_store(uri, folder, reader, candidate, push):
    push("stable", "stable")
    update(uri, folder)
    for call in (
        lambda: folder_store.publish(folder, candidate, {}),
        lambda: folder_store.promote(folder, 1),
        lambda: folder_store.set_canary(folder, 1),
        lambda: folder_store.prune(folder, 1),
        lambda: folder_store.versions(folder),
        lambda: folder_store.latest(folder),
    ):
        with pytest.raises(StoreError, match=f"is a mirror for servers, .*; name {uri}"):
            call()
    assert reader.look() == ({1, 2}, {"stable": 2})
