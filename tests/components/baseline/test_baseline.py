"""Baseline: the release to compare with travels as a copy, or the artifact says why not."""

import json
from pathlib import Path

import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components import baseline
from components.baseline.component import Baseline
from components.baseline.executor import Executor
from components.errors import PipelineError
from components.release_store import folder as folder_store
from tests.fixtures import tiny_release
from tests.models.audio.signals import small

SHAPE = list(tiny_release.SHAPE)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [tiny_release.write_model(root / str(error), error) for error in (0.0, 5.0)]


@pytest.fixture
def store(tmp_path, models):
    for model in models:
        candidates = {name: model / "release" / name for name in folder_store.SERVED}
        candidates["evaluate"] = model / "Format-Serving"
        folder_store.publish(tmp_path / "serving", candidates, {"model": {"image": SHAPE}})
    return tmp_path / "serving"


def run(store, version, folder, image_shape=tiny_release.SHAPE, audio=None):
    """The component's execution; returns its artifact."""
    component = Baseline(str(store), image_shape, version, "code", audio)
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder)
    folder.mkdir()
    Executor().Do({}, {"baseline_model": [artifact]}, component.exec_properties)
    return artifact


@pytest.mark.parametrize(("version", "expected"), [(1, 1), (2, 2), (-1, 2)])
def test_release_is_copied(store, tmp_path, version, expected):
    artifact = run(store, version, tmp_path / "out")
    assert baseline.read(artifact.uri) == baseline.BaselineInfo(expected, copied=expected)
    assert artifact.get_int_custom_property("version") == expected
    copied = tf.saved_model.load(str(tmp_path / "out/Format-Serving"))
    assert "evaluate" in copied.signatures
    assert copied.error.numpy() == (0.0, 5.0)[expected - 1]
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


def test_without_a_release(tmp_path):
    artifact = run(tmp_path / "serving", -1, tmp_path / "out")
    info = baseline.read(artifact.uri)
    assert info.version == 0
    assert "nothing has been released" in info.reason
    assert artifact.get_string_custom_property("reason") == info.reason
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["baseline.json"]
    assert not (tmp_path / "serving").exists()


def test_none_asked_for(store, tmp_path):
    info = baseline.read(run(store, 0, tmp_path / "out").uri)
    assert info.version == 0
    assert info.reason


def test_after_a_rollback_the_latest_is_the_one_served(store, tmp_path):
    folder_store.promote(store, 1)
    assert baseline.read(run(store, -1, tmp_path / "out").uri).version == 1


def test_release_of_another_image_shape_cannot_be_compared(store, tmp_path):
    artifact = run(store, 2, tmp_path / "out", (8, 8, 3))
    assert baseline.read(artifact.uri) == baseline.BaselineInfo(
        0,
        "release 2 was made for images of shape [4, 4, 1], this run's are [8, 8, 3]",
        copied=2,  # a training may begin with its weights all the same
    )
    assert (tmp_path / "out/Format-Serving/saved_model.pb").is_file()


@pytest.mark.parametrize(
    ("released", "own", "reason"),
    [
        (None, {}, "images, this run's data are audio"),
        ({}, None, "audio, this run's data are images"),
        ({"range_db": 60.0}, {}, "audio of range_db 60.0, this run's is 80.0"),
        # It is measured on this run's windows, and makes waveforms in its own way.
        ({"window_hop": 32, "iterations": 8, "max_seconds": 9.0}, {}, ""),
    ],
)
def test_release_of_other_sound_cannot_be_compared(tmp_path, models, released, own, reason):
    candidates = {name: models[0] / "release" / name for name in folder_store.SERVED}
    candidates["evaluate"] = models[0] / "Format-Serving"
    facts = {} if released is None else {"audio": small(**released).model_dump()}
    folder_store.publish(
        tmp_path / "serving", candidates, {"model": {"image": SHAPE, "kind": "audio", **facts}}
    )
    audio = None if own is None else small(**own)
    info = baseline.read(run(tmp_path / "serving", 1, tmp_path / "out", audio=audio).uri)
    assert info.reason == (f"release 1 was made for {reason}" if reason else "")
    assert (info.version, info.copied) == (0 if reason else 1, 1)


def test_named_release_must_exist(store, tmp_path):
    with pytest.raises(PipelineError, match=r"no release 9 in .*serving; there are: 1, 2"):
        run(store, 9, tmp_path / "out")
    with pytest.raises(PipelineError, match="baseline_version -2: must be"):
        run(store, -2, tmp_path / "out2")


def test_damaged_release_is_not_compared_with(store, tmp_path):
    (store / "evaluate/2/saved_model.pb").unlink()
    with pytest.raises(PipelineError, match="release 2 is damaged"):
        run(store, 2, tmp_path / "out")


def test_reading_what_is_not_a_baseline(tmp_path):
    with pytest.raises(PipelineError, match=r"baseline.json does not exist"):
        baseline.read(str(tmp_path))
    for text in ("", "[]", json.dumps({"version": 1})):
        Path(tmp_path, "baseline.json").write_text(text)
        with pytest.raises(PipelineError, match=r"baseline.json is damaged"):
            baseline.read(str(tmp_path))
