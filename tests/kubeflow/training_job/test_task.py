"""The Trainer's task where several workers train."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from components.errors import PipelineError
from kubeflow.compiler.compile import Places, compile_pipeline
from kubeflow.container.__main__ import run as run_container
from kubeflow.container.payloads import POINTER, resolved
from kubeflow.training_job import task
from kubeflow.training_job.staging import Staging
from pipeline.config import config as configuration
from tests.fixtures.examples import write_images
from tests.fixtures.fake_kubernetes_api import (
    FakeCluster,
)
from tests.fixtures.fake_kubernetes_server import serving
from tests.fixtures.training_jobs import IMAGE, settings


def test_a_staging_folder_that_cannot_be_removed_hides_no_failure(tmp_path, monkeypatch, capsys):
    class Failing:
        def exists(self, name):
            return False

        def run(self, manifest, timeout):
            monkeypatch.setattr(Staging, "remove", busy)
            raise PipelineError("worker 0 ended with 1")

    def busy(_):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setenv("KFP_RUN_ID", "run")
    invocation = {"inputs": {}, "outputs": {"outputFile": str(tmp_path / "output.json")}}
    several = settings()
    several = several.model_copy(
        update={"job": several.job.model_copy(update={"staging": str(tmp_path / "staging")})}
    )
    with pytest.raises(PipelineError, match="worker 0 ended with 1"):
        task.run(several, "Trainer-vqvae", "executor", invocation, {}, Failing())
    assert "may be left: OSError: [Errno 16] Device or resource busy" in capsys.readouterr().out


def test_inputs_in_a_data_root_that_workers_mount_are_not_copied(tmp_path, monkeypatch):
    """They do where their staging is on that volume; else they are given copies as ever."""
    monkeypatch.setenv("KFP_RUN_ID", "run")
    root = tmp_path / "volume"
    for folder in (root / "payloads/examples", tmp_path / "pod/model"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("data")

    def staged(staging: Path) -> tuple[dict[str, str], set[str]]:
        seen = {}

        class Looking:
            def exists(self, name):
                return False

            def run(self, manifest, timeout):
                (place,) = staging.iterdir()
                message = json.loads((place / "task.json").read_text())["invocation"]
                seen["uris"] = {
                    name: each["artifacts"][0]["uri"]
                    for name, each in message["inputs"]["artifacts"].items()
                }
                seen["copies"] = {path.name for path in (place / "inputs").iterdir()}
                (place / "outputs").mkdir()
                (place / "outputs/executor_output.json").write_text("{}")

        several = settings()
        job = several.job.model_copy(update={"staging": str(staging)})
        several = several.model_copy(update={"job": job})
        invocation = {
            "inputs": {
                "artifacts": {
                    "examples": {"artifacts": [{"uri": f"{root}/payloads/examples"}]},
                    "model": {"artifacts": [{"uri": f"{tmp_path}/pod/model"}]},
                }
            },
            "outputs": {"outputFile": str(tmp_path / "output.json")},
        }
        arguments = ("Trainer-vqvae", "executor", invocation, {}, Looking(), str(root))
        task.run(several, *arguments)
        return seen["uris"], seen["copies"]

    uris, copies = staged(root / "staging")
    assert uris == {"examples": f"{root}/payloads/examples", "model": "inputs/model"}
    assert copies == {"model"}
    uris, copies = staged(tmp_path / "elsewhere")
    assert uris == {"examples": "inputs/examples", "model": "inputs/model"}
    assert copies == {"examples", "model"}


def write_examples(folder: Path) -> None:
    images = np.round(load_digits().images[:192] * 255 / 16).astype("uint8")[..., None]
    for split, part in (("train", images[:128]), ("eval", images[128:])):
        write_images(folder, split, part, np.zeros(len(part)))


@pytest.mark.slow
def test_two_workers_train_one_model(tmp_path, monkeypatch):
    """The task's own arguments, as compiled; the cluster starts what the task asks for.

    One input is read in the data root, where the workers see it; the other is handed to them.
    """
    volume = tmp_path / "volume"
    config = configuration.load(
        "digits",
        (
            "training.workers=2",
            "training.vqvae.steps=6",
            "training.vqvae.batch_size=32",
            f"kubeflow.training_job.staging={volume}/staging",
            f"kubeflow.data_root={{claim: vqvae-work, path: {volume}}}",
            "model.quantizer.num_codes=8",
        ),
    )
    places = Places(IMAGE, "/data", f"{tmp_path}/serving", f"{tmp_path}/checkpoints")
    spec = compile_pipeline(config, places)[0]
    component = spec["components"]["Trainer-vqvae"]
    container = spec["deploymentSpec"]["executors"]["Trainer-vqvae_executor"]["container"]
    monkeypatch.setenv("VQVAE_MOUNT_ROOT", str(tmp_path))
    payload = volume / "payloads/earlier/Transform/0/transformed_examples"
    write_examples(payload)
    for name in ("examples", "graph"):
        (tmp_path / "minio/b" / name).mkdir(parents=True)
    pointer = tmp_path / "minio/b/examples" / POINTER
    pointer.write_text(json.dumps({"payload": str(payload)}))
    (tmp_path / "minio/b/graph/empty").write_text("")
    parameters = spec["root"]["dag"]["tasks"]["Trainer-vqvae"]["inputs"]["parameters"]
    invocation = {
        "inputs": {
            "parameterValues": {
                name: source["runtimeValue"]["constant"]
                for name, source in parameters.items()
                if "runtimeValue" in source
            },
            "artifacts": {
                "examples": {"artifacts": [{"uri": "minio://b/examples", "metadata": {
                    "split_names": '["train", "eval"]'}}]},
                "transform_graph": {"artifacts": [{"uri": "minio://b/graph"}]},
            },
        },
        "outputs": {
            "artifacts": {
                name: {"artifacts": [{"name": name, "uri": f"minio://b/{name}", "type": each[
                    "artifactType"]}]}
                for name, each in component["outputDefinitions"]["artifacts"].items()
            },
            "outputFile": f"{tmp_path}/output.json",
        },
    }  # fmt: skip
    monkeypatch.setattr("kubeflow.training_job.job._POLL", 0.2)
    with serving(FakeCluster()) as cluster:
        arguments = [text.replace("{{$}}", json.dumps(invocation)) for text in container["args"]]
        try:
            run_container(arguments)
        finally:
            logs = "\n".join(path.read_text() for path in sorted(cluster.logs.iterdir()))
            print(logs[-6000:])
        assert len(cluster.processes) == 2
        assert cluster.jobs == {}
    assert "vqvae: step 6/6" in logs
    assert [path.name for path in (tmp_path / "minio/b/model").iterdir()] == [POINTER]
    model = resolved(str(tmp_path / "minio/b/model"))
    assert tf.saved_model.load(f"{model}/Format-Serving").signatures
    output = json.loads((tmp_path / "output.json").read_text())
    assert output["artifacts"]["model"]["artifacts"][0]["uri"] == "minio://b/model"
    assert not list((volume / "staging").iterdir())
    # Both have the same step, in the one folder of checkpoints that they share.
    logs = tmp_path / "checkpoints" / "logs"
    (checkpoints,) = {*(tmp_path / "checkpoints").iterdir()} - {logs}
    assert tf.train.latest_checkpoint(str(checkpoints)).endswith("ckpt-6")
    # The curves too are where TensorBoard finds them, those of the first worker.
    assert list(logs.glob(f"{checkpoints.name}/events.out.tfevents.*"))
