"""A job while the API fails, stays away, or may not be asked."""

from __future__ import annotations

import pytest

from components.errors import PipelineError
from tests.fixtures.fake_kubernetes_api import (
    FakeCluster,
)
from tests.fixtures.fake_kubernetes_server import serving
from tests.fixtures.training_jobs import NAME, job, nothing, program, succeed


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
