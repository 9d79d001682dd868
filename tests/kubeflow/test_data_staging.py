"""ExampleGen's data in an object store: only the span that is read is fetched, unchanged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from object_stores import s3_server

from components.errors import PipelineError
from components.object_store import Folder
from kubeflow.container.example_gen import _staged


@pytest.fixture(scope="module", autouse=True)
def bucket():
    with s3_server("images"):
        store = Folder("s3://images")
        for span in (1, 2):
            for split in ("train", "eval"):
                name = f"day-{span}/{split}/part-00000-of-00001.tfrecord.gz"
                store.write(name, f"{span} {split}".encode())
        store.write("day-2/train/_SUCCESS", b"x")
        store.write("other/train/part.tfrecord", b"not ours")
        store.write("flat/a.tfrecord", b"flat")
        yield store


@pytest.fixture(autouse=True)
def pod(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def contents(folder: str) -> dict[str, str]:
    root = Path(folder)
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_the_latest_span_is_fetched_and_the_others_are_names(bucket):
    local = _staged("s3://images/day-{SPAN}")
    root, pattern = local.rsplit("/", 1)
    assert pattern == "day-{SPAN}"
    found = contents(root)
    file = "part-00000-of-00001.tfrecord.gz"
    assert found == {
        f"day-1/eval/{file}": "",
        f"day-1/train/{file}": "",
        f"day-2/eval/{file}": "2 eval",
        f"day-2/train/{file}": "2 train",
    }
    changed = bucket.find("day-2")[f"day-2/train/{file}"]
    assert os.path.getmtime(f"{root}/day-2/train/{file}") == changed


def test_without_a_pattern_all_of_the_folder_is_fetched():
    assert contents(_staged("s3://images/flat")) == {"a.tfrecord": "flat"}


def test_a_folder_without_data_is_named():
    with pytest.raises(PipelineError, match="no image TFRecords in s3://images/nothing; expected"):
        _staged("s3://images/nothing")


def test_an_object_named_as_a_path_elsewhere_is_refused(bucket, pod):
    key = "odd/day-1/../../../outside.tfrecord"
    bucket._files.call_s3("put_object", Bucket="images", Key=key, Body=b"x")
    for uri in ("s3://images/odd", "s3://images/odd/day-{SPAN}"):
        with pytest.raises(PipelineError, match="is the name of an object there but no path"):
            _staged(uri)
    assert not [path for path in pod.rglob("*") if path.is_file()]
