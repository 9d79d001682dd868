"""Folders of an object store, on a real S3 server of this machine."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from object_stores import CREDENTIALS, s3_server

from components.errors import PipelineError
from components.object_store import Folder, is_remote


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
