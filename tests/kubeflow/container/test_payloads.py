"""Payloads in a data root: what is pointed at is whole, what fails leaves nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from components.errors import PipelineError
from kubeflow.commands.payloads import payloads as command
from kubeflow.compiler.compile import Places, compile_pipeline
from kubeflow.container import executor_input
from kubeflow.container.__main__ import run as run_container
from kubeflow.container.artifact_uris import local_path
from kubeflow.container.payloads import POINTER, Payloads, resolved
from pipeline.config import config as configuration

SPEC = {"artifacts": {"model": {"artifactType": {"instanceSchema": "title: tfx.Model\n"}}}}
DAY = 24 * 3600
IMAGE = "registry.example/vqvae@sha256:" + "0" * 64


@pytest.fixture(autouse=True)
def pod(tmp_path, monkeypatch):
    monkeypatch.setenv("VQVAE_MOUNT_ROOT", str(tmp_path / "pod"))
    monkeypatch.setenv("KFP_RUN_ID", "run-1")
    (tmp_path / "volume").mkdir()
    return tmp_path


@pytest.fixture
def root(tmp_path) -> str:
    return str(tmp_path / "volume")


def invocation(**outputs: str) -> dict:
    """Of a task that reads one model; output -> its type."""
    return {
        "inputs": {"artifacts": {"model": {"artifacts": [{"uri": "s3://b/in"}]}}},
        "outputs": {
            "artifacts": {
                name: {"artifacts": [{"uri": f"s3://b/{name}", "type": {"schemaTitle": title}}]}
                for name, title in outputs.items()
            },
            "outputFile": "/tmp/output.json",
        },
    }


def make(root: str, component: str, text: str = "data", name: str = "out") -> str:
    """A task with one output; returns the folder of the artifact."""
    given = invocation(**{name: "tfx.Model"})
    with Payloads(root, component) as task:
        message = executor_input.prepare(given, SPEC, task)
        (out,) = message["outputs"]["artifacts"][name]["artifacts"]
        Path(out["uri"], "file").write_text(text)
        task.publish(executor_input.places(given, message))
    return local_path(f"s3://b/{name}")


def files(folder: str | Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()
    }


def test_an_artifact_is_a_pointer_that_the_next_task_follows(root):
    artifact = make(root, "Trainer-vqvae")
    assert files(artifact) == {POINTER}
    given = invocation(out="tfx.Model")
    given["inputs"]["artifacts"]["model"]["artifacts"][0]["uri"] = "s3://b/out"
    message = executor_input.prepare(given, SPEC)
    (model,) = message["inputs"]["artifacts"]["model"]["artifacts"]
    assert Path(model["uri"], "file").read_text() == "data"
    assert Path(model["uri"]).is_relative_to(f"{root}/payloads/run-1/Trainer-vqvae")
    # A release names the artifact, which Kubeflow knows.
    assert model["metadata"]["remote_uri"] == "s3://b/out"
    assert executor_input.places(given, message)[model["uri"]] == "s3://b/out"


def test_what_kubeflows_page_opens_stays_where_it_looks(root):
    with Payloads(root, "Report") as task:
        given = invocation(report="system.HTML", metrics="system.Metrics", other="tfx.Model")
        message = executor_input.prepare(given, SPEC, task)
        found = {
            name: each["artifacts"][0]["uri"]
            for name, each in message["outputs"]["artifacts"].items()
        }
        assert found["report"] == local_path("s3://b/report")
        assert found["metrics"] == local_path("s3://b/metrics")
        assert found["other"].startswith(root)
        task.publish(executor_input.places(given, message))
    assert files(local_path("s3://b/report")) == set()


def test_two_tries_of_a_task_never_write_to_one_folder(root):
    with Payloads(root, "Transform") as first, Payloads(root, "Transform") as second:
        assert first.output("examples") != second.output("examples")


def test_a_try_that_fails_leaves_nothing_and_is_not_pointed_at(root):
    given = invocation(out="tfx.Model")

    def fail():
        with Payloads(root, "Tokenizer") as task:
            message = executor_input.prepare(given, SPEC, task)
            (out,) = message["outputs"]["artifacts"]["out"]["artifacts"]
            Path(out["uri"], "half").write_text("half")
            Path(task.scratch(), "copy").write_text("x")
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        fail()
    assert files(root) == set()
    assert files(local_path("s3://b/out")) == set()


def test_a_scratch_folder_is_no_payload(root):
    given = invocation(out="tfx.Model")
    with Payloads(root, "ImageExampleGen") as task:
        message = executor_input.prepare(given, SPEC, task)
        Path(task.scratch(), "copy").write_text("x")
        task.publish(executor_input.places(given, message))
        assert files(task.folder) == set()
    assert Path(resolved(local_path("s3://b/out"))).is_dir()


def test_a_volume_that_is_not_there_or_a_payload_that_is_gone_is_named(root, tmp_path):
    with pytest.raises(PipelineError, match=r"kubeflow\.data_root .*nowhere: no such folder"):
        Payloads(str(tmp_path / "nowhere"), "Transform")
    artifact = make(root, "Transform")
    payload = Path(json.loads(Path(artifact, POINTER).read_text())["payload"])
    payload.rename(payload.with_name("elsewhere"))
    with pytest.raises(PipelineError, match=r"is not there: .*runtime\.cache=false"):
        resolved(artifact)


def age(folder: str | Path, days: float) -> None:
    """Makes all below a folder, and itself, as old."""
    when = time.time() - days * DAY
    for path in (*Path(folder).rglob("*"), Path(folder)):
        os.utime(path, (when, when))


def test_prune_removes_only_what_nobody_has_used_for_so_long(root, monkeypatch):
    unused = resolved(make(root, "Transform", "unused", "a"))
    monkeypatch.setenv("KFP_RUN_ID", "run-2")
    artifact = make(root, "Transform", "used", "b")
    used = resolved(artifact)
    monkeypatch.setenv("KFP_RUN_ID", "run-3")
    fresh = resolved(make(root, "Transform", "fresh", "c"))
    for folder in (unused, used):
        age(Path(folder).parent, 40)
    other = Path(root, "checkpoints")
    other.mkdir()
    (other / "ckpt").write_text("x")
    age(other, 400)
    resolved(artifact)  # as a later run does, to which Kubeflow's cache has handed it

    def prune(*options: str) -> str:
        arguments = ["prune", root, "--older-than", "30", *options]
        done = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    listed = prune()
    assert str(Path(unused).parent) in listed
    assert "last used 40 days ago" in listed
    assert "1 to be removed with --remove" in listed
    assert Path(unused).is_dir()  # only listed
    assert "1 removed" in prune("--remove")
    assert not Path(root, "payloads", "run-1").exists()
    assert Path(used, "file").read_text() == "used"
    assert Path(fresh, "file").read_text() == "fresh"
    assert (other / "ckpt").exists()
    assert "0 removed, 0.0 MiB; 2 in use" in prune("--remove")


def test_prune_refuses_a_folder_that_is_no_data_root(tmp_path):
    (tmp_path / "precious").mkdir()
    done = CliRunner().invoke(command, ["prune", str(tmp_path), "--older-than", "30", "--remove"])
    assert "holds no folder 'payloads'" in str(done.exception)
    assert (tmp_path / "precious").is_dir()


def baseline(tmp_path: Path, documents: list[dict]) -> list[str]:
    """The arguments of Baseline's task, as compiled, for a store of this machine."""
    spec = documents[0]
    container = spec["deploymentSpec"]["executors"]["Baseline_executor"]["container"]
    inputs = spec["root"]["dag"]["tasks"]["Baseline"]["inputs"]["parameters"]
    made = spec["components"]["Baseline"]["outputDefinitions"]["artifacts"]["baseline_model"]
    message = {
        "inputs": {
            "parameterValues": {
                name: source["runtimeValue"]["constant"] for name, source in inputs.items()
            }
        },
        "outputs": {
            "artifacts": {
                "baseline_model": {
                    "artifacts": [
                        {"name": "m", "uri": "s3://b/baseline", "type": made["artifactType"]}
                    ]
                }
            },
            "outputFile": str(tmp_path / "output.json"),
        },
    }
    return [each.replace("{{$}}", json.dumps(message)) for each in container["args"]]


def test_a_task_leaves_a_payload_or_nothing(root, tmp_path):
    data_root = f"kubeflow.data_root={{claim: vqvae-data, path: {root}}}"
    places = Places(IMAGE, "s3://b/data", f"{tmp_path}/serving", f"{tmp_path}/checkpoints")
    documents = compile_pipeline(configuration.load("digits", (data_root,)), places)
    arguments = baseline(tmp_path, documents)
    run_container(arguments)
    artifact = local_path("s3://b/baseline")
    assert files(artifact) == {POINTER}
    assert files(resolved(artifact))  # says that there is no release yet
    report = json.loads((tmp_path / "output.json").read_text())
    assert report["artifacts"]["baseline_model"]["artifacts"][0]["uri"] == "s3://b/baseline"
    before = files(root)
    Path(artifact, POINTER).unlink()
    (tmp_path / "serving/releases").mkdir(parents=True)
    (tmp_path / "serving/releases/latest.json").write_text("damaged")
    with pytest.raises(PipelineError, match=r"latest\.json"):
        run_container(arguments)
    assert files(artifact) == set()
    assert files(root) == before
    assert len(list(Path(root, "payloads/run-1/Baseline").iterdir())) == 1
