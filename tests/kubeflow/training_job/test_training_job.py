"""Several workers: the job that starts them, whatever happens to it, and a training they share."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml
from sklearn.datasets import load_digits

import kubeflow
from components import features
from components.errors import PipelineError
from kubeflow.compiler.compile import Places, compile_pipeline
from kubeflow.container.__main__ import run as run_container
from kubeflow.training_job import task
from kubeflow.training_job.cluster import Cluster
from kubeflow.training_job.job import Job
from kubeflow.training_job.manifest import build, job_name
from kubeflow.training_job.settings import TrainingJobSettings
from kubeflow.training_job.staging import Staging
from pipeline.config import config as configuration
from pipeline.config.config import ConfigError
from tests.fixtures.fake_kubernetes_api import (
    FakeCluster,
    container_ended,
    container_waiting,
    serving,
)

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


def nothing():
    """A look at a job at which nothing has happened."""


def succeed(cluster, name=NAME):
    return lambda: cluster.finish(name, "Complete")


@pytest.mark.parametrize("backend", ["trainjob", "tfjob"])
def test_workers_run_to_the_end_and_their_logs_are_seen(workers, backend):
    text = "import os; print('secret', os.environ['PASSWORD'] == 'x', flush=True)"
    secret = {"PASSWORD": {"secret": "store", "key": "password"}}
    workers.secrets = {"store": {"password": "x"}}
    lines = []
    job(lines, backend).run(program(text, backend, secret_env=secret))
    assert sorted(lines[1:]) == ["[worker 1] secret True", "secret True"]
    assert (workers.created, workers.deleted, workers.jobs) == ([NAME], [NAME], {})


def test_a_log_whose_connection_is_cut_is_shown_whole_and_once(workers):
    workers.cut_logs = 4
    lines = []
    job(lines).run(program("for i in range(6): print('line', i, flush=True)"))
    expected = [f"line {index}" for index in range(6)]
    assert [line for line in lines[1:] if not line.startswith("[")] == expected
    assert [line for line in lines if line.startswith("[worker 1] ")] == [
        f"[worker 1] {line}" for line in expected
    ]
    assert workers.cut_logs == 0


def test_a_job_whose_logs_may_not_be_read_still_runs(workers):
    workers.allowed.remove(("pods/log", "get"))
    lines = []
    job(lines).run(program("print('unseen')"))
    assert any("cannot be shown without the Role vqvae-training-jobs" in line for line in lines)
    assert workers.deleted == [NAME]


# --- The manifest ---------------------------------------------------------------------------------


def test_the_manifest_is_owned_by_the_tasks_pod(monkeypatch):
    manifest = program("pass", gpu_count=2, gpu_type="nvidia.com/gpu")
    (owner,) = manifest["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", "trainer-pod", "uid-1")
    limits = manifest["spec"]["trainer"]["resourcesPerNode"]["limits"]
    assert limits == {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "2"}
    monkeypatch.delenv("KFP_POD_UID")
    assert "ownerReferences" not in program("pass")["metadata"]  # without uid it would be refused


def test_names_are_the_runs_own_and_short_enough():
    first = job_name("Trainer-vqvae", "a" * 36)
    assert first == job_name("Trainer-vqvae", "a" * 36)
    assert first != job_name("Trainer-vqvae", "b" * 36)
    assert first != job_name("Trainer-prior", "a" * 36)
    assert len(f"{job_name('Trainer-' + 'x' * 80, 'a')}-node-0-99") <= 63


def test_workers_have_no_sidecar_and_are_known_to_the_network_policy():
    """Istio's sidecar, as profiles have it, does not end, and so neither would the job."""
    folder = Path(kubeflow.__path__[0]) / "manifests"
    runtime = yaml.safe_load((folder / "training-runtime.yaml").read_text())
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    worker = program("pass", "tfjob")["spec"]["tfReplicaSpecs"]["Worker"]
    for template in (node["template"]["spec"]["template"], worker["template"]):
        labels = template["metadata"]["labels"]
        assert labels["sidecar.istio.io/inject"] == "false"
        assert labels["app.kubernetes.io/component"] == "training"


def test_an_unknown_field_is_refused_by_the_server(cluster):
    manifest = program("pass")
    manifest["spec"]["trainer"]["colour"] = "red"
    with pytest.raises(PipelineError, match=r"unknown field \.spec\.trainer\.colour"):
        job().run(manifest)


# --- Workers that fail, or do not start -----------------------------------------------------------


def test_a_failing_worker_is_named_with_its_last_lines(workers):
    text = (
        "import os, sys; print('so far so good', flush=True); "
        "sys.exit(os.environ['JOB_COMPLETION_INDEX'] == '1' and 'error: no space left')"
    )
    with pytest.raises(
        PipelineError,
        match=r"worker 1 ended with 1 \(error\): so far so good \| error: no space left$",
    ):
        job().run(program(text))
    assert workers.deleted == [NAME]


def test_the_worker_that_failed_first_is_named_first(cluster):
    def fail():
        cluster.add_pod(NAME, 0, container_ended(1, "Error", "12:00:09"))
        cluster.add_pod(NAME, 1, container_ended(137, "OOMKilled", "12:00:01"))
        cluster.finish(NAME, "Failed", "jobset failed")

    cluster.script = [fail]
    with pytest.raises(
        PipelineError,
        match=r"failed: worker 1 ended with 137 \(OOMKilled: it needs more memory\); "
        r"worker 0 ended with 1 \(error\)$",
    ):
        job().run(program("pass"))


def test_an_evicted_worker_is_named(cluster):
    status = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory"}

    def fail():
        cluster.add_pod(NAME, 1, status)
        cluster.finish(NAME, "Failed", "jobset failed")

    cluster.script = [fail]
    with pytest.raises(PipelineError, match="worker 1: Evicted: The node was low on memory"):
        job().run(program("pass"))


def add_waiting_pods(cluster):
    cluster.add_pod(NAME, 1, container_waiting("ImagePullBackOff", "no such image"))
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes: insufficient nvidia.com/gpu",
    }  # fmt: skip
    cluster.add_pod(NAME, 0, {"phase": "Pending", "conditions": [condition]})


def test_what_keeps_a_worker_from_starting_is_said_once(cluster):
    lines = []
    cluster.script = [lambda: add_waiting_pods(cluster), nothing, nothing, succeed(cluster)]
    job(lines).run(program("pass"))
    assert lines.count("worker 1 waits: ImagePullBackOff: no such image") == 1
    assert "worker 0 waits: Unschedulable: 0/3 nodes: insufficient nvidia.com/gpu" in lines


def test_an_image_that_cannot_be_pulled_ends_the_wait(cluster, monkeypatch):
    monkeypatch.setattr("kubeflow.training_job.job._START_PATIENCE", 0.1)
    cluster.script = [lambda: add_waiting_pods(cluster)]
    with pytest.raises(PipelineError, match="worker 1 does not start: ImagePullBackOff: no such"):
        job().run(program("pass"))
    assert cluster.deleted == [NAME]


def test_a_job_that_takes_too_long_is_removed_and_the_reason_told(cluster):
    cluster.script = [lambda: add_waiting_pods(cluster)]
    with pytest.raises(
        PipelineError, match=r"has not ended in 0 seconds; .*worker 0 waits: Unschedulable: 0/3"
    ):
        job().run(program("pass"), timeout=0.1)
    assert cluster.deleted == [NAME]


# --- Jobs of an earlier try -----------------------------------------------------------------------


def test_a_retried_task_follows_the_job_that_goes_on(cluster, monkeypatch):
    cluster.create("trainjobs", program("pass"))
    monkeypatch.setenv("KFP_POD_UID", "uid-2")
    cluster.script = [nothing, nothing, succeed(cluster)]
    lines = []
    job(lines).run(program("pass"))
    assert "following TrainJob" in lines[0]
    assert (cluster.created, cluster.deleted) == ([NAME], [NAME])


def test_a_job_that_goes_with_the_pod_of_the_earlier_try_is_made_again(cluster, monkeypatch):
    cluster.create("trainjobs", program("pass"))
    monkeypatch.setenv("KFP_POD_UID", "uid-2")
    cluster.script = [nothing, nothing, lambda: cluster.owner_gone("uid-1"), succeed(cluster)]
    job().run(program("pass"))
    assert cluster.created == [NAME, NAME]
    assert cluster.jobs == {}


def test_a_job_of_an_earlier_try_that_failed_is_made_again(cluster):
    cluster.create("trainjobs", program("pass"))
    cluster.finish(NAME, "Failed", "a node was lost")
    cluster.script = [nothing, succeed(cluster)]
    lines = []
    job(lines).run(program("pass"))
    assert "of an earlier try failed (a node was lost)" in lines[0]
    assert cluster.created == [NAME, NAME]
    assert cluster.jobs == {}


def test_a_job_on_its_way_out_is_waited_for(cluster):
    cluster.create("trainjobs", program("pass"))
    cluster.jobs[NAME]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cluster.script = [nothing, nothing, lambda: cluster.remove(NAME), succeed(cluster)]
    assert not job().exists(NAME)
    job().run(program("pass"))
    assert cluster.created == [NAME, NAME]


def test_a_job_of_the_same_name_and_other_contents_is_left_alone(cluster):
    cluster.create("trainjobs", program("other"))
    with pytest.raises(PipelineError, match=r"exists with other contents; .*kubectl delete"):
        job().run(program("pass"))
    assert list(cluster.jobs) == [NAME]
    assert cluster.deleted == []


def test_a_job_deleted_by_somebody_else(cluster):
    cluster.script = [nothing, lambda: cluster.remove(NAME)]
    with pytest.raises(PipelineError, match="was deleted by somebody else"):
        job().run(program("pass"))


# --- An API that is away, or says no --------------------------------------------------------------


@pytest.mark.parametrize("verb", ["create", "get", "list", "delete"])
def test_errors_of_the_api_that_pass_are_waited_out(cluster, verb):
    cluster.hiccups = {verb: [500, 503, 429]}
    cluster.script = [nothing, nothing, succeed(cluster)]
    job().run(program("pass"))
    assert cluster.jobs == {}
    assert cluster.hiccups == {verb: []}


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_a_request_that_was_done_without_an_answer_is_not_done_twice(cluster, verb):
    cluster.lost_answers = [verb]
    cluster.script = [nothing, succeed(cluster)]
    job().run(program("pass"))
    assert (cluster.created, cluster.deleted) == ([NAME], [NAME])


def test_a_job_made_by_a_request_whose_answer_never_came_is_removed(cluster, monkeypatch):
    monkeypatch.setattr("kubeflow.training_job.cluster.PATIENCE", 0.01)
    cluster.lost_answers = ["create"]
    with pytest.raises(PipelineError, match=r"cannot create TrainJob .* \(504\): request did not"):
        job().run(program("pass"))
    assert cluster.deleted == [NAME]


def test_an_api_that_stays_away_is_an_error_of_one_line(monkeypatch):
    with serving(FakeCluster(run_workers=False)):
        following = job()
    monkeypatch.setattr("kubeflow.training_job.cluster.PATIENCE", 0.2)
    monkeypatch.setattr("kubeflow.training_job.job._LAST_PATIENCE", 0.2)
    with pytest.raises(PipelineError, match=r"Kubernetes' API does not answer \(MaxRetryError\)$"):
        following.run(program("pass"))


def test_outside_of_kubernetes_nothing_is_waited_for():
    with pytest.raises(PipelineError, match=r"in no pod .*set training\.workers to 1"):
        job()


@pytest.mark.parametrize(
    ("right", "text"),
    [(("trainjobs", "create"), "may not create TrainJob"), (("pods", "list"), "may not list the")],
)
def test_a_missing_role_is_named_at_once(cluster, right, text):
    cluster.allowed.remove(right)
    with pytest.raises(PipelineError, match=rf"{text} .*the Role vqvae-training-jobs of kube"):
        job().run(program("pass"))
    assert cluster.jobs == {}


def test_a_job_that_may_not_be_deleted_is_told(cluster):
    cluster.allowed.remove(("trainjobs", "delete"))
    cluster.script = [succeed(cluster)]
    lines = []
    job(lines).run(program("pass"))
    assert "may not delete" in lines[-1]
    assert f"kubectl delete TrainJob {NAME} --namespace ns" in lines[-1]


# --- The task is stopped --------------------------------------------------------------------------


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_removes_the_job(workers):
    def stop(line):
        if line == "started":
            terminate()

    text = "import time; print('started', flush=True); time.sleep(60)"
    following = Job("trainjob", "ns", stop, poll=0.02)
    with pytest.raises(SystemExit, match="the workers are stopped too"):
        following.run(program(text))
    assert workers.deleted == [NAME]
    assert all(process.poll() is not None for process in workers.processes.values())


def test_sigterm_does_not_cut_the_removal_short(cluster, monkeypatch):
    removing = Cluster.delete

    def stopped_while_removing(*arguments):
        terminate()
        terminate()
        removing(*arguments)

    monkeypatch.setattr(Cluster, "delete", stopped_while_removing)
    cluster.script = [succeed(cluster)]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="stopped by SIGTERM"):
        job().run(program("pass"))
    assert cluster.deleted == [NAME]
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_before_the_answer_to_create_removes_what_was_made(cluster, monkeypatch):
    creating = Cluster.create

    def stopped_after_creating(*arguments):
        creating(*arguments)
        terminate()

    monkeypatch.setattr(Cluster, "create", stopped_after_creating)
    with pytest.raises(SystemExit):
        job().run(program("pass"))
    assert (cluster.created, cluster.deleted) == ([NAME], [NAME])


# --- Settings -------------------------------------------------------------------------------------


def test_what_a_trainjob_cannot_carry_is_refused():
    several = ("training.workers=2", "kubeflow.training_job.staging=/mnt/vqvae/work")
    places = Places(IMAGE, "s3://b/d", "s3://b/s", "s3://b/c")
    own = "kubeflow.components={Trainer-vqvae: {node_selector: {gpu: l4}}}"
    with pytest.raises(ConfigError, match=r"node_selector: .*TrainingRuntime vqvae-training"):
        compile_pipeline(configuration.load("digits", (*several, own)), places)
    with pytest.raises(ConfigError, match=r"set kubeflow\.training_job\.staging"):
        compile_pipeline(configuration.load("digits", several[:1]), places)


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
    model = tmp_path / "minio/b/model/Format-Serving"
    assert tf.saved_model.load(str(model)).signatures
    output = json.loads((tmp_path / "output.json").read_text())
    assert output["artifacts"]["model"]["artifacts"][0]["uri"] == "minio://b/model"
    assert not list((tmp_path / "staging").iterdir())
    # Both have the same step, in the one folder of checkpoints that they share.
    (checkpoints,) = (tmp_path / "checkpoints").iterdir()
    assert tf.train.latest_checkpoint(str(checkpoints)).endswith("ckpt-6")
