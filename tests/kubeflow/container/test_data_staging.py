"""ExampleGen's data in an object store: only the span that is read is fetched, unchanged."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path

import pytest
from tfx.proto import example_gen_pb2
from tfx.utils import proto_utils

from components.errors import PipelineError
from components.example_gen import input_files, settings
from components.object_store.folder import Folder
from kubeflow.container.example_gen import _staged, drive
from tests.fixtures.object_stores import s3_server


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
        for day in ("2026-01-31", "2026-02-01"):
            for split in ("train", "validation", "test"):
                name = f"by date [1]*/{day}/my-{split}.tfrecord-00000-of-00001"
                store.write(name, f"{day} {split}".encode())
        store.write("by date 1x/2026-03-01/a.tfrecord", b"another folder")
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


def test_what_the_driver_records_is_of_the_files_that_were_fetched(pod, capsys):
    values = {
        "input_base": "s3://images/by date [1]*/{YYYY}-{MM}-{DD}",
        "custom_config": proto_utils.proto_to_json(settings.pack(fingerprint="")),
        "input_config": "{}",
        "output_config": "{}",
    }
    examples = {"type": {"instanceSchema": "title: tfx.Examples\n"}, "uri": str(pod / "examples")}
    invocation = {
        "inputs": {"parameterValues": values},
        "outputs": {"artifacts": {"examples": {"artifacts": [examples]}}},
    }
    drives = [drive(json.loads(json.dumps(invocation))) for _ in range(2)]
    metadata = [drive["artifacts"]["examples"]["artifacts"][0]["metadata"] for drive in drives]
    assert metadata[0] == metadata[1]
    assert metadata[0]["custom:span"] == (date(2026, 2, 1) - date(1970, 1, 1)).days
    fingerprint = metadata[0]["input_fingerprint"]
    assert fingerprint.startswith("split:train,num_files:1,total_bytes:16,sha256:")
    assert "the split test (1 file) is not read: eval is validation" in capsys.readouterr().out
    drive(invocation)
    config = example_gen_pb2.Input()
    proto_utils.json_to_proto(values["input_config"], config)
    read = input_files.find(values["input_base"], config.splits)
    assert {
        split.name: [Path(path).read_text() for path in split.paths] for split in read.splits
    } == {
        "train": ["2026-02-01 train"],
        "eval": ["2026-02-01 validation"],
    }
    assert read.fingerprint == fingerprint


def test_an_object_named_as_a_path_elsewhere_is_refused(bucket, pod):
    key = "odd/day-1/../../../outside.tfrecord"
    bucket._files.call_s3("put_object", Bucket="images", Key=key, Body=b"x")
    for uri in ("s3://images/odd", "s3://images/odd/day-{SPAN}"):
        with pytest.raises(PipelineError, match="is the name of an object there but no path"):
            _staged(uri)
    assert not [path for path in pod.rglob("*") if path.is_file()]
