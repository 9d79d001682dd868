"""Curves outlive the process that wrote them, in a folder and in an object store."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import tensorflow as tf

from components.errors import PipelineError
from components.object_store.folder import Folder
from components.trainer.kept_logs import KeptLogs
from pipeline.report import curves


def log(folder: Path, steps: range, value: float) -> None:
    with tf.summary.create_file_writer(str(folder)).as_default():
        for step in steps:
            tf.summary.scalar("train/loss", value, step=step)


@pytest.fixture(params=["folder", "store"])
def kept(request, tmp_path, s3_uri) -> str:
    return str(tmp_path / "kept") if request.param == "folder" else s3_uri


def contents(kept: str, tmp_path: Path) -> dict[str, bytes]:
    """File -> bytes of a copy, by its name."""
    if "://" in kept:
        folder = Folder(kept)
        return {name: folder.read(name) for name in folder.find()}
    return {path.name: path.read_bytes() for path in Path(kept).rglob("*") if path.is_file()}


def test_a_copy_grows_with_the_logs_while_the_training_runs(kept, tmp_path):
    logs = tmp_path / "logs"
    writer = tf.summary.create_file_writer(str(logs))
    with writer.as_default(), KeptLogs(str(logs), kept, goes_on=False) as copy:
        sizes = []
        for step in range(3):
            tf.summary.scalar("train/loss", 1.0, step=step)
            copy.keep(now=True)
            (data,) = contents(kept, tmp_path).values()
            sizes.append(len(data))
        assert sizes == sorted({*sizes})  # each look finds more
        tf.summary.scalar("train/loss", 1.0, step=3)
    (path,) = logs.iterdir()
    assert contents(kept, tmp_path) == {path.name: path.read_bytes()}


def test_a_training_that_goes_on_has_the_whole_curve(kept, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    with KeptLogs(str(first), kept, goes_on=False):
        log(first, range(0, 30, 10), 2.0)
    with KeptLogs(str(second), kept, goes_on=True):
        log(second, range(20, 50, 10), 1.0)
    curve = curves.read(str(second), "vqvae").curves["train/loss"]
    assert curve.steps.tolist() == [0, 10, 20, 30, 40]
    assert curve.values.tolist() == [2.0, 2.0, 1.0, 1.0, 1.0]
    assert len(contents(kept, tmp_path)) == 2


def test_a_training_that_begins_anew_has_no_other_curve(kept, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    with KeptLogs(str(first), kept, goes_on=False):
        log(first, range(3), 2.0)
    with KeptLogs(str(second), kept, goes_on=False):
        log(second, range(2), 1.0)
    assert contents(kept, tmp_path).keys() == {path.name for path in second.iterdir()}


def test_of_a_longer_training_before_nothing_is_shown_after_the_end(tmp_path):
    log(tmp_path, range(0, 100, 10), 2.0)
    log(tmp_path, range(30, 50, 10), 1.0)
    curve = curves.read(str(tmp_path), "vqvae").curves["train/loss"]
    assert curve.steps.tolist() == [0, 10, 20, 30, 40]


def test_a_store_that_does_not_answer_stops_no_training(tmp_path, s3_uri, caplog, monkeypatch):
    logs = tmp_path / "logs"
    copy = KeptLogs(str(logs), s3_uri, goes_on=False)
    log(logs, range(3), 1.0)

    def refuse(self, files, replace=True):
        raise PipelineError("object store: cannot write")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(Folder, "put", refuse)
        copy.keep(now=True)
    assert "object store: cannot write" in caplog.text
    copy.keep(now=True)
    assert len(contents(s3_uri, tmp_path)) == 1
