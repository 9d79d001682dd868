"""The folder that a task and its workers share, on a volume and in an object store."""

from __future__ import annotations

import pytest

from components.errors import PipelineError
from components.object_store.folder import Folder
from kubeflow.training_job.staging import Staging
from tests.fixtures.object_stores import s3_server


@pytest.fixture(params=["volume", "s3"])
def place(request, tmp_path):
    if request.param == "volume":
        yield str(tmp_path / "staging/job")
        return
    with s3_server("bucket"):
        yield "s3://bucket/staging/job"


def test_what_one_puts_another_finds_and_it_is_gone_in_the_end(place, tmp_path):
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep/file").write_text("1")
    staging = Staging(place)
    staging.remove()  # nothing there yet
    staging.put(source, "inputs/a")
    staging.put(source / "deep/file", "task.json")
    (source / "deep/file").rename(source / "deep/other")
    (source / "deep/other").write_text("2")
    staging.put(source, "inputs/a")
    found = Staging(place).local()
    files = [path for path in (found / "inputs/a").rglob("*") if path.is_file()]
    assert [path.relative_to(found).as_posix() for path in files] == ["inputs/a/deep/other"]
    assert files[0].read_text() == "2"
    assert (found / "task.json").read_text() == "1"
    Staging(place).remove()
    if "://" in place:
        assert Folder(place).find() == {}
    else:
        assert not found.exists()


def test_an_object_named_as_a_path_elsewhere_is_not_copied(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "deep"))
    (tmp_path / "deep").mkdir()
    with s3_server("bucket"):
        folder = Folder("s3://bucket/job")
        key = "job/in/../../../outside"
        folder._files.call_s3("put_object", Bucket="bucket", Key=key, Body=b"x")
        with pytest.raises(PipelineError, match="is the name of an object there but no path"):
            Staging("s3://bucket/job").local()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
