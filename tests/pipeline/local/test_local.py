"""The pipeline on this machine: what a run takes from the cache, writes over, and leaves behind.

Driver, cache, metadata and launcher are the real ones, of all components; the executors are stubs
where their work is not the point.
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import message
from tfx.orchestration import metadata
from tfx.orchestration.portable import execution_publish_utils, outputs_utils
from tfx.proto.orchestration import executable_spec_pb2
from tfx.types import standard_artifacts

from components import durable_files
from components.data_gate.executor import labels_of
from components.errors import PipelineError, notes
from pipeline.commands.run import run_and_show
from pipeline.config.config import load
from pipeline.datasets import tfrecord
from pipeline.datasets.tfrecord import encode_example
from pipeline.local.plan import plan_run, run_pipeline
from pipeline.local.root import Root
from pipeline.local.runner import ComponentRun, runner_utils
from tests.fixtures import stub_executor
from tests.fixtures.tiny_models import png, some_images

COMPONENTS = 13


class Local:
    """One root, and runs in it."""

    def __init__(self, folder: Path):
        self.root = Root(folder / "run")
        self.data = folder / "data"
        for split in ("train", "eval"):
            (self.data / split).mkdir(parents=True)
            (self.data / split / "a.tfrecord").write_text("its length is all that is looked at")

    def run(self, *overrides: str) -> dict[str, str]:
        """Component -> how it went."""
        config = load("digits", overrides)
        plan = plan_run(config, str(self.data), self.root)
        components = run_pipeline(config, plan, self.root, lambda component: None)
        return {component.name: component.state for component in components}

    def store(self) -> metadata.Metadata:
        return metadata.Metadata(
            metadata.sqlite_metadata_connection_config(str(self.root.metadata))
        )


def stubs_but_for(real: tuple[str, ...] = ()) -> Callable[..., message.Message]:
    """In place of what tells TFX the executor of a component."""
    stub = executable_spec_pb2.PythonClassExecutableSpec(
        class_path="tests.fixtures.stub_executor.Executor"
    )
    theirs = runner_utils.extract_executor_spec
    return lambda deployment, name: theirs(deployment, name) if name in real else stub


@pytest.fixture
def stubbed(tmp_path, monkeypatch) -> Local:
    monkeypatch.setattr(runner_utils, "extract_executor_spec", stubs_but_for())
    stub_executor.found.clear()
    stub_executor.instead.clear()
    return Local(tmp_path)


def ran(states: dict[str, str]) -> set[str]:
    return {name for name, state in states.items() if state == "ran"}


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_every_component_gets_empty_folders_when_the_metadata_is_gone(stubbed):
    stubbed.run()
    stubbed.root.metadata.unlink()
    # What TFX would take for the report of an executor.
    (report,) = stubbed.root.artifacts.glob("Transform/.system/executor_execution/*")
    (report / "executor_output.pb").write_bytes(b"")
    states = stubbed.run()
    assert len(ran(states)) == COMPONENTS
    assert stub_executor.found == {name: [] for name in states}


def test_nor_does_an_older_copy_of_the_metadata_bring_files_back(stubbed):
    stubbed.run()
    shutil.copy(stubbed.root.metadata, stubbed.data)
    before = set(stubbed.root.artifacts.rglob("data-*"))
    stubbed.run("data.max_rejected_fraction=0.5")
    shutil.copy(stubbed.data / stubbed.root.metadata.name, stubbed.root.metadata)
    states = stubbed.run("data.max_rejected_fraction=0.25")
    assert states["ImageExampleGen"] == "ran"
    assert not any(stub_executor.found.values())
    assert before <= set(stubbed.root.artifacts.rglob("data-*"))  # the older copy names these


def test_a_folder_that_the_metadata_names_is_never_emptied(stubbed):
    stubbed.run()
    folder = stubbed.root.artifacts / "ImageExampleGen" / "examples" / str(COMPONENTS + 2)
    folder.mkdir()
    (folder / "precious").write_text("data")
    with stubbed.store() as handle:
        (type_id,) = (
            each.id
            for each in handle.store.get_artifact_types()
            if each.name == standard_artifacts.Examples.TYPE_NAME
        )
        artifact = standard_artifacts.Examples().mlmd_artifact
        artifact.type_id, artifact.uri = type_id, str(folder)
        handle.store.put_artifacts([artifact])
    with pytest.raises(PipelineError, match=r"holds artifact \d+ of an earlier run"):
        stubbed.run("data.max_rejected_fraction=0.5")
    assert [path.name for path in folder.iterdir()] == ["precious"]


@pytest.mark.slow
def test_statistics_are_of_the_data_of_this_run_alone(stubbed, monkeypatch):
    real = ("ImageExampleGen", "StatisticsGen")
    monkeypatch.undo()
    monkeypatch.setattr(runner_utils, "extract_executor_spec", stubs_but_for(real))

    def count(name: str, images: int) -> int:
        """Examples that StatisticsGen saw."""
        stubbed.data = stubbed.root.path.with_name(name)
        stubbed.data.mkdir()
        with tfrecord.create(stubbed.data / f"{name}.tfrecord.gz") as writer:
            for index, pixels in enumerate(some_images(images, seed=images)):
                writer.write(encode_example(png(pixels), index % 3))
        stubbed.run()
        files = stubbed.root.artifacts.glob("StatisticsGen/statistics/*/Split-*/FeatureStats.pb")
        return sum(labels_of(tfdv.load_stats_binary(str(path))).examples for path in files)

    assert count("a", images=60) == 60
    stubbed.root.metadata.unlink()
    assert count("b", images=25) == 25


def test_an_upgrade_of_a_library_makes_every_result_anew(stubbed, monkeypatch):
    stubbed.run()
    assert ran(stubbed.run()) == {"Pusher", "Report"}  # nothing has been released
    config = load("digits", [])
    key = plan_run(config, str(stubbed.data), stubbed.root).run_key
    installed = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        lambda name: "99.9" if name == "tensorflow-data-validation" else installed(name),
    )
    assert len(ran(stubbed.run())) == COMPONENTS
    assert plan_run(config, str(stubbed.data), stubbed.root).run_key != key
    with stubbed.store() as handle:
        last = max(handle.store.get_executions(), key=lambda execution: execution.id)
    versions = last.custom_properties["library_versions"].string_value
    assert "tensorflow-data-validation 99.9" in versions
    assert f"keras {installed('keras')}" in versions


def test_the_first_cause_is_told_when_all_that_follows_fails_too(stubbed, monkeypatch):
    stubbed.run()
    before = stubbed.root.last_run.read_text()

    def fail() -> None:
        raise ValueError("the first cause")

    stub_executor.instead["ImageExampleGen"] = fail
    monkeypatch.setattr(execution_publish_utils, "publish_failed_execution", full)
    monkeypatch.setattr(outputs_utils, "remove_output_dirs", full)
    monkeypatch.setattr(durable_files, "_sync", full)

    def show(component: ComponentRun) -> None:
        if component.state == "failed":
            full()

    config = load("digits", ["data.max_rejected_fraction=0.5"])
    plan = plan_run(config, str(stubbed.data), stubbed.root)
    with pytest.raises(ValueError, match="the first cause") as failed:
        run_pipeline(config, plan, stubbed.root, show)
    said = [note.split(" (")[0] for note in notes(failed.value)]
    assert said == [
        "also: what it had written is left",
        "also: the metadata does not say that it failed",
        "also: the end of ImageExampleGen cannot be shown",
        "also: there is no record of this run",
    ]
    assert all("No space left" in note for note in notes(failed.value))
    assert stubbed.root.last_run.read_text() == before
    assert not list(stubbed.root.path.glob(".*"))


def test_a_run_that_fails_is_recorded_and_reported(stubbed, monkeypatch, capfd):
    def fail() -> None:
        raise PipelineError("the data is bad")

    stub_executor.instead["ImageExampleGen"] = fail
    with pytest.raises(PipelineError, match="the data is bad"):
        run_and_show("digits", stubbed.data, stubbed.root.path, (), verbose=False)
    assert json.loads(stubbed.root.last_run.read_text())["error"] == "the data is bad"
    assert "the data is bad" in stubbed.root.report.read_text()
    assert "report" in capfd.readouterr().out


def test_a_report_that_cannot_be_built_does_not_hide_why_the_run_failed(
    stubbed, monkeypatch, capfd
):
    def fail() -> None:
        raise PipelineError("the data is bad")

    stub_executor.instead["ImageExampleGen"] = fail
    monkeypatch.setattr("pipeline.report.build", full)
    with pytest.raises(PipelineError, match="the data is bad") as failed:
        run_and_show("digits", stubbed.data, stubbed.root.path, (), verbose=False)
    assert notes(failed.value) == [
        "also: there is no report of this run (OSError: [Errno 28] No space left on device)"
    ]


def test_data_that_cannot_be_used_is_the_message_of_a_first_run(tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PipelineError, match="no image TFRecords in") as failed:
        run_and_show("digits", tmp_path / "empty", tmp_path / "root", (), verbose=False)
    assert notes(failed.value) == []
    assert not Root(tmp_path / "root").last_run.exists()
    assert "report" not in capfd.readouterr().out


def test_data_that_cannot_be_used_leaves_the_record_of_the_run_before(stubbed, tmp_path, capfd):
    stubbed.run()
    before = stubbed.root.last_run.read_text()
    (tmp_path / "empty").mkdir()
    with pytest.raises(PipelineError, match="no image TFRecords in"):
        run_and_show("digits", tmp_path / "empty", stubbed.root.path, (), verbose=False)
    assert stubbed.root.last_run.read_text() == before
    assert "report" not in capfd.readouterr().out  # it would be that of the other run
