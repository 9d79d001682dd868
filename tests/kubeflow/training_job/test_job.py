"""Several workers: the job that starts them, and whatever happens to it."""

from __future__ import annotations

import os
import signal

import pytest

from components.errors import PipelineError
from kubeflow.training_job.cluster import Cluster
from kubeflow.training_job.job import Job
from tests.fixtures.fake_kubernetes_api import (
    container_ended,
    container_waiting,
)
from tests.fixtures.training_jobs import NAME, job, nothing, program, succeed


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
