"""Folders of an object store, on a real S3 server of this machine."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from components.errors import PipelineError
from components.object_store import conditional_writes
from components.object_store.folder import Folder, is_remote
from tests.fixtures.object_stores import CREDENTIALS, s3_server


@pytest.fixture(scope="module", autouse=True)
def server():
    with s3_server("bucket") as address:
        yield address


@pytest.fixture
def folder(request):
    return Folder(f"s3://bucket/{request.node.name}")


def test_what_is_remote():
    assert is_remote("s3://bucket/key")
    assert not is_remote("/mnt/data")


def test_files_are_written_read_listed_and_removed(folder, tmp_path):
    assert folder.read("a/b") is None
    assert folder.names() == []
    assert folder.find() == {}
    folder.write("a/b", b"1")
    folder.write("a/b", b"2")
    folder.write("c", b"3")
    assert folder.read("a/b") == b"2"
    assert folder.names() == ["a", "c"]
    assert list(folder.find()) == ["a/b", "c"]
    folder.download(["a/b"], tmp_path)
    assert (tmp_path / "a/b").read_bytes() == b"2"
    folder.delete(["a/b", "a/b"])
    assert folder.names() == ["c"]


def test_a_folder_keeps_its_shape(folder, tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/file").write_text("x")
    (tmp_path / "empty").write_text("")
    folder.upload(tmp_path, "up")
    assert list(folder.find("up")) == ["up/deep/er/file", "up/empty"]


def test_minio_is_s3_by_another_name(folder):
    folder.write("a", b"1")
    assert Folder(folder.uri.replace("s3://", "minio://")).read("a") == b"1"


def test_of_many_creators_one_succeeds(folder):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: folder.create("claim", str(n).encode()), range(8)))
    assert won.count(True) == 1
    assert folder.read("claim") == str(won.index(True)).encode()


def test_a_missing_bucket_is_named():
    with pytest.raises(PipelineError, match=r"cannot write s3://nobody/x/a .*name of the bucket"):
        Folder("s3://nobody/x").write("a", b"")


def test_without_a_bucket():
    with pytest.raises(PipelineError, match="names no bucket"):
        Folder("s3://")


def test_missing_credentials_are_asked_for(folder, monkeypatch):
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    with pytest.raises(PipelineError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        Folder(folder.uri).names()


def test_an_unreachable_store_is_named_without_credentials(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(PipelineError, match="AWS_ENDPOINT_URL") as caught:
        Folder("s3://bucket/x").names()
    assert caught.value.__cause__ is None
    assert not any(secret in str(caught.value) for secret in CREDENTIALS.values())
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == CREDENTIALS["AWS_SECRET_ACCESS_KEY"]


def put_object(key: str, data: bytes = b"x") -> None:
    """An object whose name no path of a file system gave."""
    Folder("s3://bucket")._files.call_s3("put_object", Bucket="bucket", Key=key, Body=data)


@pytest.mark.parametrize(
    "name", ["../../outside", "a/../../../outside", "..", "/outside", "a//b", "./a", "a/.", "n\0l"]
)
def test_an_object_whose_name_is_no_path_is_refused_by_name(folder, tmp_path, name):
    key = f"{folder.uri.removeprefix('s3://bucket/')}/in/{name}"
    put_object(key)
    folder.write("in/fine", b"1")
    target = tmp_path / "deep/er/target"
    with pytest.raises(
        PipelineError, match="no path below that folder; remove or rename"
    ) as raised:
        folder.find("in")
    assert repr(f"in/{name}") in str(raised.value)
    for call in (folder.read, lambda path: folder.download([path], target), folder.find):
        with pytest.raises(PipelineError, match="no path below that folder"):
            call(f"in/{name}")
    assert list(tmp_path.rglob("*")) == []
    assert folder.read("in/fine") == b"1"


def test_a_folder_of_such_a_name_is_refused(folder):
    put_object(f"{folder.uri.removeprefix('s3://bucket/')}/../a")
    with pytest.raises(PipelineError, match=r"'\.\.' is the name of an object there but no path"):
        folder.names()


def test_what_browsers_leave_for_empty_folders_is_no_file(folder, tmp_path):
    key = folder.uri.removeprefix("s3://bucket/")
    put_object(f"{key}/sub/", b"")
    folder.write("sub/a\\b #1?%25", b"1")
    assert list(folder.find()) == ["sub/a\\b #1?%25"]
    assert folder.names() == ["sub"]
    folder.download(list(folder.find()), tmp_path)
    assert (tmp_path / "sub/a\\b #1?%25").read_bytes() == b"1"
    put_object(f"{key}/other/", b"not empty")
    with pytest.raises(PipelineError, match="'other/' is the name of an object"):
        folder.find()


def test_a_file_is_replaced_only_by_who_has_read_it_as_it_is(folder):
    assert folder.read_stamped("a") is None
    assert folder.replace("a", b"1", None)
    assert not folder.replace("a", b"2", None)
    first = folder.read_stamped("a")
    assert first.data == b"1"
    assert folder.replace("a", b"2", first.stamp)
    assert not folder.replace("a", b"3", first.stamp)
    assert folder.read("a") == b"2"
    folder.delete(["a"])
    assert not folder.replace("a", b"3", first.stamp)
    assert folder.names() == []


def test_of_many_replacers_one_succeeds(folder):
    folder.write("a", b"old")
    stamp = folder.read_stamped("a").stamp
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: folder.replace("a", str(n).encode(), stamp), range(8)))
    assert won.count(True) == 1
    assert folder.read("a") == str(won.index(True)).encode()


def test_a_store_that_ignores_conditions_is_refused(folder, monkeypatch):
    folder.require_conditions("nothing")

    def ignore(files, path, data, stamp):
        files.pipe_file(path, data)
        return True

    monkeypatch.setitem(conditional_writes._WRITES, "s3", ignore)
    with pytest.raises(PipelineError, match="ignores conditions on writes"):
        folder.require_conditions("nothing")
    assert folder.names() == []


def test_a_kind_of_store_without_conditions_is_refused(tmp_path):
    with pytest.raises(PipelineError, match="file://: releases cannot be kept there"):
        Folder(f"file://{tmp_path}").require_conditions("nothing")


def test_an_upload_that_keeps_what_is_there(folder, tmp_path):
    for name in ("a", "b/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("new")
    folder.write("up/a", b"old")
    folder.upload(tmp_path, "up", replace=False)
    assert folder.read("up/a") == b"old"
    assert folder.read("up/b/c") == b"new"


@pytest.mark.parametrize("told", [True, False])
def test_files_that_differ_are_found(folder, tmp_path, monkeypatch, told):
    """By the MD5 that a listing tells, or by their contents where it tells none."""
    if not told:
        monkeypatch.setattr(conditional_writes, "md5", lambda files, facts: None)
    for name in ("same", "longer", "other", "missing"):
        (tmp_path / name).write_text("12345")
    folder.upload(tmp_path, "up")
    folder.write("up/longer", b"123456")
    folder.write("up/other", b"12346")
    folder.delete(["up/missing"])
    known = {}
    assert folder.differing(tmp_path, "up", known) == ["up/longer", "up/missing", "up/other"]
    assert list(known) == ["up/same"]
    monkeypatch.setattr(folder, "_same", lambda *_: pytest.fail("it was known to be the same"))
    (tmp_path / "other").unlink()
    assert folder.differing(tmp_path, "up", known) == ["up/longer", "up/missing"]
