"""A worker finds the others, and trains with them."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest

from components.errors import PipelineError
from kubeflow.training_job import worker
from kubeflow.training_job.job import Job
from kubeflow.training_job.manifest import build
from kubeflow.training_job.settings import TrainingJobSettings
from tests.fixtures.fake_kubernetes_api import FakeCluster
from tests.fixtures.fake_kubernetes_server import serving

NAME = "vqvae-trainer-vqvae-0123456789"
STEPS, RATE = 4, 0.3


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Of a pod that is the second worker of two."""
    # Set first, so that what join_cluster() sets is undone.
    monkeypatch.setenv("TF_CONFIG", "")
    monkeypatch.delenv("TF_CONFIG")
    monkeypatch.setenv("VQVAE_WORKER_HOSTS", "localhost:2222,127.0.0.1:2222")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    return monkeypatch


def test_a_worker_of_a_trainjob_makes_tf_config():
    assert worker.join_cluster() == 1
    assert json.loads(os.environ["TF_CONFIG"]) == {
        "cluster": {"worker": ["localhost:2222", "127.0.0.1:2222"]},
        "task": {"type": "worker", "index": 1},
    }


def test_a_worker_of_a_tfjob_has_it(environment):
    given = json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 0}})
    environment.setenv("TF_CONFIG", given)
    assert worker.join_cluster() == 0
    assert os.environ["TF_CONFIG"] == given


@pytest.mark.parametrize(
    ("hosts", "index"), [("", "0"), ("a:1,b:1", ""), ("a:1,b:1", "2"), ("a:1,b:1", "first")]
)
def test_what_is_no_worker_is_told_so(environment, hosts, index):
    environment.setenv("VQVAE_WORKER_HOSTS", hosts)
    environment.setenv("JOB_COMPLETION_INDEX", index)
    with pytest.raises(PipelineError, match="this is no worker of a training"):
        worker.join_cluster()


def test_a_worker_that_never_appears_is_named(environment):
    environment.setenv("VQVAE_WORKER_HOSTS", "localhost:2222,job-node-0-1.job.invalid:2222")
    environment.setattr(worker, "_PATIENCE", 0.0)
    with pytest.raises(PipelineError, match=r"worker job-node-0-1\.job\.invalid:2222 has not appe"):
        worker.join_cluster()


# Each worker has data of its own, and is to end with the weights of a training on all of it.
TRAINING = f"""
from kubeflow.training_job.worker import join_cluster
index = join_cluster()
import tensorflow as tf
from components.trainer.strategy import build_strategy
strategy = build_strategy("multi_worker")
with strategy.scope():
    weights = tf.Variable([0.0, 0.0], aggregation=tf.VariableAggregation.MEAN)
rows = tf.constant([[1.0, 0.0], [1.0, 1.0]]) + index
targets = tf.constant([1.0, 3.0]) * (index + 1)

def step():
    error = tf.linalg.matvec(rows, weights) - targets
    gradient = tf.linalg.matvec(rows, error, transpose_a=True) / 2
    replicas = tf.distribute.get_replica_context()
    mean = replicas.all_reduce(tf.distribute.ReduceOp.MEAN, gradient)
    weights.assign_sub({RATE} * mean)

@tf.function
def train():
    for _ in range({STEPS}):
        strategy.run(step)

train()
print("weights", *weights.numpy().tolist(), flush=True)
"""


def trained_alone() -> np.ndarray:
    """What one process makes of the data of both."""
    weights = np.zeros(2)
    rows = np.concatenate([np.array([[1.0, 0.0], [1.0, 1.0]]) + index for index in range(2)])
    targets = np.concatenate([np.array([1.0, 3.0]) * (index + 1) for index in range(2)])
    for _ in range(STEPS):
        weights -= RATE * rows.T @ (rows @ weights - targets) / 4
    return weights


@pytest.mark.parametrize("backend", ["trainjob", "tfjob"])
def test_workers_started_from_the_manifest_train_as_one(backend):
    settings = TrainingJobSettings.model_validate(
        {
            "image": "image",
            "workers": 2,
            "job": {"backend": backend, "staging": "/mnt/vqvae/work"},
            "pod": {"cpu": "1", "memory": "2Gi", "env": {"TF_CPP_MIN_LOG_LEVEL": "3"}},
        }
    )
    lines = []
    with serving(FakeCluster()) as cluster:
        job = Job(backend, "ns", lines.append, poll=0.1)
        job.run(build(settings, NAME, ["python", "-c", TRAINING]), timeout=600)
        assert cluster.jobs == {}
    found = [re.fullmatch(r"(\[worker 1\] )?weights (\S+) (\S+)", line) for line in lines]
    one, other = ((m[1], float(m[2]), float(m[3])) for m in found if m)
    assert {one[0], other[0]} == {None, "[worker 1] "}
    assert one[1:] == other[1:]
    np.testing.assert_allclose(one[1:], trained_alone(), rtol=1e-5)
