"""Checkpoints in an object store are found again by the next process."""

from __future__ import annotations

import keras
import pytest

from components.errors import PipelineError
from components.object_store.folder import Folder
from components.trainer.checkpoint_mirror import CheckpointMirror
from components.trainer.checkpoints import Checkpoints
from tests.fixtures.object_stores import s3_server


@pytest.fixture(scope="module", autouse=True)
def server():
    with s3_server("bucket") as address:
        yield address


def checkpoints(uri, value=0.0):
    variable = keras.Variable(value)
    return Checkpoints(uri, {"loop": [variable]}, keep=2), variable


def test_the_last_and_the_best_come_back(request):
    uri = f"s3://bucket/{request.node.name}"
    first, variable = checkpoints(uri)
    assert not first.restore_last(10)
    for step in (1, 2, 3):
        variable.assign(step)
        first.save(step)
        if step == 2:
            first.save_best(step)
    second, variable = checkpoints(uri)
    assert second.restore_last(10)
    assert float(variable.numpy()) == 3.0
    assert second.restore_best()
    assert float(variable.numpy()) == 2.0
    names = list(Folder(uri).find())
    assert not any("ckpt-1." in name for name in names)  # two are kept, there as here
    variable.assign(4.0)
    second.save(4)
    third, variable = checkpoints(uri)
    assert third.restore_last(10)
    assert float(variable.numpy()) == 4.0


def test_a_step_that_is_taken_again_replaces_its_checkpoint(request):
    uri = f"s3://bucket/{request.node.name}"
    first, variable = checkpoints(uri, value=1.0)
    first.save(5)
    again, variable = checkpoints(uri)
    assert not again.restore_last(4)  # a training of fewer steps begins anew
    variable.assign(2.0)
    again.save(5)
    last, variable = checkpoints(uri)
    assert last.restore_last(5)
    assert float(variable.numpy()) == 2.0


def test_stopped_while_uploading_the_old_one_is_there(request, monkeypatch):
    uri = f"s3://bucket/{request.node.name}"
    first, variable = checkpoints(uri, value=1.0)
    first.save(1)

    def full(self, path, data):
        raise PipelineError("object store: full")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", full)
        variable.assign(2.0)
        with pytest.raises(PipelineError, match="full"):
            first.save(2)
    second, variable = checkpoints(uri)
    assert second.restore_last(10)
    assert float(variable.numpy()) == 1.0


def test_an_object_named_as_a_path_elsewhere_is_not_copied(request, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "deep"))
    (tmp_path / "deep").mkdir()
    folder = Folder(f"s3://bucket/{request.node.name}")
    key = f"{request.node.name}/../../outside"
    folder._files.call_s3("put_object", Bucket="bucket", Key=key, Body=b"x")
    with pytest.raises(PipelineError, match=r"'\.\./\.\./outside' is the name of an object"):
        CheckpointMirror(folder.uri)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
