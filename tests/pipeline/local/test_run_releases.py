"""`vqvae run` again on the same root: what is new is released, what is not new is said to be so."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.errors import PipelineError
from components.evaluator import results
from pipeline.commands.run import run_and_show
from pipeline.config import config as configuration
from pipeline.local.plan import plan_run
from pipeline.local.root import Root
from tests.fixtures import tiny_models
from tests.fixtures.untrained_pipeline import BLESSED, CONFIG, UntrainedPipeline


def write(path: Path, seed: int, count: int = 4) -> None:
    """A file of random images; those of any two seeds have the same size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for pixels in np.random.default_rng(seed).integers(0, 256, (count, 4, 6), np.uint8):
            image = tf.train.BytesList(value=[tiny_models.png(pixels)])
            feature = {"image": tf.train.Feature(bytes_list=image)}
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


def write_splits(folder: Path, seed: int) -> None:
    write(folder / "train/a.tfrecord", seed)
    write(folder / "eval/a.tfrecord", seed + 1)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return UntrainedPipeline(tmp_path_factory.mktemp("built") / "model")


@pytest.fixture
def run(tmp_path, pipeline, monkeypatch, capsys):
    """Runs on data below `tmp_path`; returns what is printed."""
    monkeypatch.setattr("pipeline.local.plan.create_pipeline", pipeline)
    monkeypatch.setattr(results, "read", lambda uri: BLESSED)
    monkeypatch.setattr("pipeline.report.build", lambda root: root / "report.html")
    source = tmp_path / "tiny.yaml"
    source.write_text(CONFIG)

    def run(data: str, *overrides: str) -> str:
        root = tmp_path / "root"
        assert run_and_show(str(source), tmp_path / data, root, overrides, verbose=True) == 0
        return capsys.readouterr().out

    return run


def manifest(tmp_path: Path, version: int) -> dict:
    return json.loads((tmp_path / f"root/serving/releases/{version}.json").read_text())


def test_a_new_span_becomes_a_release_that_was_compared_with_the_last(tmp_path, run):
    write_splits(tmp_path / "days/day-1", 10)
    assert "released version 1\n" in run("days/day-{SPAN}")
    repeated = run("days/day-{SPAN}")
    assert "released version 1, by an earlier run: settings, code and data are the" in repeated
    write_splits(tmp_path / "days/day-2", 20)
    assert "released version 2\n" in run("days/day-{SPAN}")
    second = manifest(tmp_path, 2)
    assert (second["data"]["span"], second["baseline"]) == (2, 1)


def test_results_that_are_gone_are_made_again_for_a_release_of_their_own(tmp_path, run):
    write_splits(tmp_path / "data", 10)
    run("data")
    shutil.rmtree(tmp_path / "root/pipeline/Trainer-prior")
    assert "released version 2\n" in run("data")
    assert manifest(tmp_path, 2)["baseline"] == 1
    shutil.rmtree(tmp_path / "root/pipeline")
    (tmp_path / "root/metadata.sqlite").unlink()
    assert "released version 3\n" in run("data")
    assert manifest(tmp_path, 3)["baseline"] == 2


def test_a_release_of_other_models_is_not_said_to_be_of_this_run(tmp_path, run, monkeypatch):
    write_splits(tmp_path / "data", 10)
    run("data")
    shutil.rmtree(tmp_path / "root/pipeline/Trainer-prior")
    # As when a part of the results goes after the run was planned.
    monkeypatch.setattr("pipeline.local.lineage.has_results_of_push", lambda *_: True)
    with pytest.raises(PipelineError, match=r"not released: .* release 1 of other models"):
        run("data")


def test_files_that_change_while_a_run_begins_stop_it(tmp_path, run, pipeline, monkeypatch):
    write_splits(tmp_path / "data", 10)

    def late(config, planned, metadata):
        write(tmp_path / "data/train/b.tfrecord", 30)
        return pipeline(config, planned, metadata)

    monkeypatch.setattr("pipeline.local.plan.create_pipeline", late)
    with pytest.raises(PipelineError, match="/data changed while the run began; run it again"):
        run("data")
    assert not (tmp_path / "root/serving").exists()


def test_a_split_that_is_not_read_is_named(tmp_path, run):
    for split in ("train", "validation", "test"):
        write(tmp_path / f"my/1.0.0/my-{split}.tfrecord-00000-of-00001", 10)
    out = run("my/1.0.0")
    assert "note the split test (1 file) is not read: eval is validation" in out


def same_time(*paths: Path) -> None:
    for path in paths:
        os.utime(path, ns=(10**18, 10**18))


@pytest.fixture
def key(tmp_path):
    """The key of a run on data below `tmp_path`."""
    source = tmp_path / "tiny.yaml"
    source.write_text(CONFIG)
    root = Root(tmp_path / "root")

    def key(data: str | Path, *overrides: str) -> str:
        config = configuration.load(str(source), overrides)
        return plan_run(config, str(tmp_path / data), root).run_key

    return key


def test_the_key_of_a_run_tells_what_links_lead_to(tmp_path, key):
    for version in (1, 2):
        write_splits(tmp_path / f"v{version}", 10 * version)
        same_time(*(tmp_path / f"v{version}").glob("*/*"))
    data = tmp_path / "data"
    data.mkdir()
    keys = []
    for version in (1, 2, 1):
        for split in ("train", "eval"):
            (data / split).unlink(missing_ok=True)
            (data / split).symlink_to(f"../v{version}/{split}")
        keys.append(key("data"))
    assert keys[0] == keys[2] != keys[1]
    (tmp_path / "now").symlink_to("v1")
    first = key("now")
    (tmp_path / "now").unlink()
    (tmp_path / "now").symlink_to("v2")
    assert key("now") != first


def test_the_key_of_a_run_tells_a_file_that_was_written_again_within_a_second(tmp_path, key):
    write_splits(tmp_path / "data", 10)
    file = tmp_path / "data/train/a.tfrecord"
    os.utime(file, ns=(10**18, 10**18))
    first = key("data")
    os.utime(file, ns=(10**18, 10**18 + 1))
    assert key("data") != first
    (tmp_path / "data/notes.txt").write_text("not read")
    os.utime(file, ns=(10**18, 10**18))
    assert key("data") == first


def test_the_key_of_a_run_tells_what_a_curated_schema_says(tmp_path, key):
    write_splits(tmp_path / "data", 10)
    schema = tmp_path / "schema.pbtxt"
    schema.write_text("feature { name: 'image' type: BYTES }")
    first = key("data", f"data.schema_path={schema}")
    schema.write_text("feature { name: 'image' type: BYTES } # seen")
    assert key("data", f"data.schema_path={schema}") != first


@pytest.mark.parametrize(
    ("pattern", "old", "new"),
    [
        ("day-{SPAN}", "day-9", "day-10"),
        ("{SPAN:3}", "009", "010"),
        ("{YYYY}-{MM}-{DD}", "2026-01-31", "2026-02-01"),
        ("{YYYY}/{MM}/{DD}/v{VERSION}", "2026/02/01/v9", "2026/02/01/v10"),
        ("", "span-9", "span-10"),
    ],
)
def test_the_key_of_a_run_tells_the_span(tmp_path, key, pattern, old, new):
    data = tmp_path / "a b [1]*?"
    write_splits(data / old, 10)
    first = key(data / pattern)
    write_splits(data / new, 20)
    second = key(data / pattern)
    assert second != first
    write_splits(data / old, 30)
    assert key(data / pattern) == second
