"""Several workers: the job that starts them, whatever happens to it, and a training they share."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from fake_kubernetes_api import FakeCluster, container_waiting, serving
from sklearn.datasets import load_digits

from components import features
from components.errors import PipelineError
from kubeflow.compile import Places, compile_pipeline
from kubeflow.container.__main__ import run as run_container
from kubeflow.training_job.job import Job
from kubeflow.training_job.manifest import build, job_name
from kubeflow.training_job.settings import TrainingJobSettings
from kubeflow.training_job.worker import join_cluster
from pipeline import config as configuration
from pipeline.config import ConfigError

IMAGE = "registry.example/vqvae@sha256:" + "0" * 64
NAME = "vqvae-trainer-vqvae-0123456789"


@pytest.fixture(autouse=True)
def pod(monkeypatch):
    """The variables of the task's own pod."""
    monkeypatch.setenv("KFP_POD_NAME", "trainer-pod")
    monkeypatch.setenv("KFP_POD_UID", "uid-1")
    monkeypatch.setenv("KFP_RUN_ID", "run-1")


def settings(backend="trainjob", **pod):
    return TrainingJobSettings.model_validate(
        {
            "image": IMAGE,
            "workers": 2,
            "job": {"backend": backend, "staging": "/mnt/vqvae/work"},
            "pod": {"cpu": "1", "memory": "2Gi", **pod},
        }
    )


@pytest.fixture
def cluster():
    with serving(FakeCluster(run_workers=False)) as fake:
        yield fake


@pytest.fixture
def workers():
    with serving(FakeCluster()) as fake:
        yield fake


def program(text, backend="trainjob", **pod):
    return build(settings(backend, **pod), NAME, ["python", "-c", text])


def job(lines=None, backend="trainjob"):
    return Job(backend, "ns", (lines if lines is not None else []).append, poll=0.02)


@pytest.mark.parametrize("backend", ["trainjob", "tfjob"])
def test_workers_run_to_the_end_and_their_logs_are_seen(workers, backend):
    text = "import os; print('secret', os.environ['PASSWORD'] == 'x', flush=True)"
    secret = {"PASSWORD": {"secret": "store", "key": "password"}}
    workers.secrets = {"store": {"password": "x"}}
    lines = []
    job(lines, backend).run(program(text, backend, secret_env=secret))
    assert sorted(lines[1:]) == ["[worker 1] secret True", "secret True"]
    assert (workers.created, workers.deleted, workers.jobs) == ([NAME], [NAME], {})


def test_the_manifest_is_owned_by_the_tasks_pod():
    manifest = program("pass", gpu_count=2, gpu_type="nvidia.com/gpu")
    (owner,) = manifest["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", "trainer-pod", "uid-1")
    limits = manifest["spec"]["trainer"]["resourcesPerNode"]["limits"]
    assert limits == {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "2"}


def test_names_are_the_runs_own_and_short_enough():
    first = job_name("Trainer-vqvae", "a" * 36)
    assert first == job_name("Trainer-vqvae", "a" * 36)
    assert first != job_name("Trainer-vqvae", "b" * 36)
    assert first != job_name("Trainer-prior", "a" * 36)
    assert len(f"{job_name('Trainer-' + 'x' * 80, 'a')}-node-0-99") <= 63


def test_a_failing_worker_is_named(workers):
    text = "import os, sys; sys.exit(int(os.environ['JOB_COMPLETION_INDEX']) * 7)"
    lines = []
    with pytest.raises(PipelineError, match=r"worker 1 ended with 7 \(error\)"):
        job(lines).run(program(text))
    assert workers.deleted == [NAME]


def test_what_keeps_a_worker_from_starting_is_said_once(cluster):
    lines = []
    manifest = program("pass")

    def end():
        cluster.add_pod(NAME, 1, container_waiting("ImagePullBackOff", "no such image"))
        cluster.add_pod(
            NAME, 0,
            {"phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/3 nodes: insufficient nvidia.com/gpu"}]},
        )  # fmt: skip
        threading.Timer(0.3, lambda: cluster.finish(NAME, "Complete")).start()

    threading.Timer(0.1, end).start()
    job(lines).run(manifest)
    assert lines.count("worker 1 waits: ImagePullBackOff: no such image") == 1
    assert "worker 0 waits: Unschedulable: 0/3 nodes: insufficient nvidia.com/gpu" in lines


def test_a_retried_task_follows_the_job_that_goes_on(cluster, monkeypatch):
    cluster.create("trainjobs", program("pass"))
    monkeypatch.setenv("KFP_POD_UID", "uid-2")
    threading.Timer(0.1, lambda: cluster.finish(NAME, "Complete")).start()
    lines = []
    job(lines).run(program("pass"))
    assert "following TrainJob" in lines[0]
    assert cluster.created == [NAME]


def test_a_job_of_the_same_name_and_other_contents_is_an_error(cluster):
    cluster.create("trainjobs", program("other"))
    with pytest.raises(PipelineError, match=r"exists with other contents; .*kubectl delete"):
        job().run(program("pass"))


def test_errors_of_the_api_that_pass_are_waited_out(cluster):
    cluster.hiccups = [500, 503, 500]
    threading.Timer(0.3, lambda: cluster.finish(NAME, "Complete")).start()
    job().run(program("pass"))
    assert cluster.deleted == [NAME]


def test_a_missing_role_is_named(cluster):
    cluster.forbidden = {"create", "delete"}
    with pytest.raises(PipelineError, match=r"may not create TrainJob .*training-rbac\.yaml"):
        job().run(program("pass"))


def test_an_unknown_field_is_refused_by_the_server(cluster):
    manifest = program("pass")
    manifest["spec"]["trainer"]["colour"] = "red"
    with pytest.raises(PipelineError, match=r"unknown field \.spec\.trainer\.colour"):
        job().run(manifest)


def test_a_job_that_takes_too_long_is_removed(cluster):
    with pytest.raises(PipelineError, match="has not ended in 0 seconds"):
        job().run(program("pass"), timeout=0.1)
    assert cluster.deleted == [NAME]


def test_a_job_deleted_by_somebody_else(cluster):
    threading.Timer(0.2, lambda: cluster.delete(NAME)).start()
    with pytest.raises(PipelineError, match="was deleted by somebody else"):
        job().run(program("pass"))


def test_sigterm_removes_the_job(workers):
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(SystemExit, match="the workers are stopped too"):
        job().run(program("import time; time.sleep(60)"))
    assert workers.deleted == [NAME]
    assert all(process.poll() is not None for process in workers.processes.values())


def test_a_worker_makes_tf_config(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setenv("VQVAE_WORKER_HOSTS", "localhost:2222,127.0.0.1:2222")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    assert join_cluster() == 1
    found = json.loads(os.environ["TF_CONFIG"])
    assert found == {
        "cluster": {"worker": ["localhost:2222", "127.0.0.1:2222"]},
        "task": {"type": "worker", "index": 1},
    }
    monkeypatch.delenv("TF_CONFIG")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "")
    with pytest.raises(PipelineError, match="this is no worker of a training"):
        join_cluster()


def test_what_a_trainjob_cannot_carry_is_refused():
    several = ("training.workers=2", "kubeflow.training_job.staging=/mnt/vqvae/work")
    places = Places(IMAGE, "s3://b/d", "s3://b/s", "s3://b/c")
    own = "kubeflow.components={Trainer-vqvae: {node_selector: {gpu: l4}}}"
    with pytest.raises(ConfigError, match=r"node_selector: .*TrainingRuntime vqvae-training"):
        compile_pipeline(configuration.load("digits", (*several, own)), places)
    with pytest.raises(ConfigError, match=r"set kubeflow\.training_job\.staging"):
        compile_pipeline(configuration.load("digits", several[:1]), places)


# --- Two processes that train ---------------------------------------------------------------------


def write_examples(folder: Path) -> None:
    images = np.round(load_digits().images[:192] * 255 / 16).astype("uint8")
    for split, part in (("train", images[:128]), ("eval", images[128:])):
        place = folder / f"Split-{split}"
        place.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(place / "examples-00000-of-00001.gz"), "GZIP") as writer:
            for image in part:
                feature = {
                    features.IMAGE: tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[image.tobytes()])
                    ),
                    features.PIXEL_VARIANCE: tf.train.Feature(
                        float_list=tf.train.FloatList(value=[0.14])
                    ),
                    features.LABEL: tf.train.Feature(int64_list=tf.train.Int64List(value=[0])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())


@pytest.mark.slow
def test_two_workers_train_one_model(tmp_path, monkeypatch):
    """The task's own arguments, as compiled; the cluster starts what the task asks for."""
    config = configuration.load(
        "digits",
        (
            "training.workers=2",
            "training.vqvae.steps=6",
            "training.vqvae.batch_size=32",
            f"kubeflow.training_job.staging={tmp_path}/staging",
            "model.quantizer.num_codes=8",
        ),
    )
    places = Places(IMAGE, "/data", f"{tmp_path}/serving", f"{tmp_path}/checkpoints")
    spec = compile_pipeline(config, places)[0]
    component = spec["components"]["Trainer-vqvae"]
    container = spec["deploymentSpec"]["executors"]["Trainer-vqvae_executor"]["container"]
    monkeypatch.setenv("VQVAE_MOUNT_ROOT", str(tmp_path))
    write_examples(tmp_path / "minio/b/examples")
    (tmp_path / "minio/b/graph").mkdir()
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
    monkeypatch.setattr("kubeflow.training_job.job._POLL", 0.1)
    monkeypatch.setattr(Job.__init__, "__defaults__", (None, print, 0.2))
    with serving(FakeCluster()) as cluster:
        arguments = [text.replace("{{$}}", json.dumps(invocation)) for text in container["args"]]
        try:
            run_container(arguments)
        finally:
            logs = "\n".join(path.read_text() for path in sorted(cluster.logs.iterdir()))
            print(logs[-6000:])
        assert len(cluster.processes) == 2
        assert cluster.jobs == {}
    assert "MultiWorkerMirroredStrategy" in logs or "worker" in logs
    model = tmp_path / "minio/b/model/Format-Serving"
    assert tf.saved_model.load(str(model)).signatures
    output = json.loads((tmp_path / "output.json").read_text())
    assert output["artifacts"]["model"]["artifacts"][0]["uri"] == "minio://b/model"
    assert not list((tmp_path / "staging").iterdir())
    # Both have the same step, in the one folder of checkpoints that they share.
    (checkpoints,) = (tmp_path / "checkpoints").iterdir()
    assert tf.train.latest_checkpoint(str(checkpoints)).endswith("ckpt-6")
