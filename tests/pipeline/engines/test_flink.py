"""A run before it submits to Flink, and when it gives a job up: with Flink's own processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from components.errors import PipelineError
from components.trainer.preemption import Preempted
from pipeline.engines import preflight
from pipeline.engines.flink import Flink, Slots
from pipeline.engines.submission import submitted
from tests.fixtures.flink_cluster import FlinkCluster, flink_cluster
from tests.fixtures.job_server_jar import BEAM, arguments, job_server
from tests.fixtures.waiting import wait_until

pytestmark = pytest.mark.flink


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with flink_cluster(tmp_path_factory.mktemp("flink")) as found:
        yield found


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A busy machine may take longer to end a job than a cluster does."""
    monkeypatch.setattr("pipeline.engines.flink._CANCEL_SECONDS", 600.0)


def refused(given: list[str]) -> str:
    with pytest.raises(PipelineError) as error:
        preflight.engine_of(given)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_cluster_that_can_take_the_job(cluster, tmp_path):
    assert isinstance(
        preflight.engine_of(arguments(cluster.address, job_server(tmp_path), 4)), Flink
    )
    assert Flink(cluster.address).version() == "1.20.5"
    assert Flink(cluster.address).slots() == Slots(total=4, free=4)


def test_too_few_slots(cluster, tmp_path):
    assert refused(arguments(cluster.address, job_server(tmp_path), 5)) == (
        f"beam.flink.parallelism: 5 needs as many slots, and http://{cluster.address} has 4; "
        "lower it, or start more TaskManagers"
    )


def test_another_version_of_flink(cluster, tmp_path):
    assert refused(arguments(cluster.address, job_server(tmp_path, flink="1.19"))) == (
        f"beam.flink.master: http://{cluster.address} is Flink 1.20.5, and "
        f"beam-runners-flink-1.19-job-server-{BEAM}.jar is for Flink 1.19; take the job server "
        "for Flink 1.20"
    )


class Submission:
    """A run that gives its job up.

    Args:
        cluster: where the job is.
        given: what Beam is given.
        parallelism: of the job, which is one of Flink's own: Beam's needs the job server.

    Attributes:
        job: its id.
    """

    def __init__(self, cluster: FlinkCluster, given: list[str], parallelism: int) -> None:
        self._cluster, self._given, self._parallelism = cluster, given, parallelism
        self.job = ""

    def interrupted(self, by: Callable[[], object]) -> None:
        """Submits the job and, while all of it runs, does something."""
        with submitted(self._given, "Tokenizer") as own:
            (name,) = [each.removeprefix("--job_name=") for each in own if "--job_name" in each]
            assert name.startswith("vqvae-tokenizer-")
            self.job = self._cluster.start(name, self._parallelism)
            by()


def test_a_run_that_fails_cancels_its_job_on_all_task_managers(cluster, tmp_path):
    run = Submission(cluster, arguments(cluster.address, job_server(tmp_path), 4), 4)
    with pytest.raises(ZeroDivisionError):
        run.interrupted(lambda: 1 / 0)
    assert cluster.state(run.job) == "CANCELED"
    subtasks = cluster.subtasks(run.job)
    assert {each["status"] for each in subtasks} == {"CANCELED"}
    assert {each["taskmanager-id"] for each in subtasks} == {"taskmanager-0", "taskmanager-1"}


def terminated() -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except Exception as error:  # as Beam does
        raise RuntimeError("the state stream ended") from error


def test_sigterm_cancels_the_job_and_no_other(cluster, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    another = cluster.start("another", 2)
    run = Submission(cluster, arguments(cluster.address, job_server(tmp_path)), 2)
    with pytest.raises(Preempted, match=r"^Tokenizer: stopped by SIGTERM"):
        run.interrupted(terminated)
    assert signal.getsignal(signal.SIGTERM) == before
    assert (cluster.state(run.job), cluster.state(another)) == ("CANCELED", "RUNNING")
    assert Flink(cluster.address).cancel("another") == 1
    assert cluster.state(another) == "CANCELED"


def test_all_jobs_of_a_name_are_cancelled_and_none_that_has_ended(cluster):
    ended = cluster.start("mine", 1, ends=True)
    running = [cluster.start("mine", 1), cluster.start("mine", 1)]
    assert Flink(cluster.address).cancel("mine") == 2
    assert [cluster.state(each) for each in running] == ["CANCELED"] * 2
    assert cluster.state(ended) == "FINISHED"
    assert Flink(cluster.address).cancel("mine") == 0


def test_a_job_that_does_not_end_is_named(cluster, monkeypatch):
    monkeypatch.setattr("pipeline.engines.flink._CANCEL_SECONDS", -1.0)
    job = cluster.start("slow", 1)
    with pytest.raises(PipelineError) as error:
        Flink(cluster.address).cancel("slow")
    assert str(error.value) == (
        f"http://{cluster.address}: job {job} does not end; cancel it with Flink's own tools"
    )
    wait_until(lambda: cluster.state(job) == "CANCELED")


class Late(Flink):
    """Has looked at the jobs before they ended."""

    def __init__(self, master: str, *seen: str) -> None:
        super().__init__(master)
        self._seen = list(seen)

    def jobs(self, name: str) -> list[str]:
        return [self._seen.pop()] if self._seen else super().jobs(name)


def test_a_job_that_ends_before_it_is_cancelled_is_no_error(cluster):
    ended = cluster.start("brief", 1, ends=True)
    forgotten = "0" * 32
    Late(cluster.address, ended, forgotten).cancel("brief")
    assert cluster.state(ended) == "FINISHED"


# The last: it stops the cluster.
def test_a_cluster_that_was_stopped(cluster, tmp_path):
    cluster.job_manager.terminate()
    cluster.job_manager.wait()
    assert refused(arguments(cluster.address, job_server(tmp_path))) == (
        f"beam.flink.master: no Flink answers at http://{cluster.address} (Connection refused); "
        "start the cluster, or correct the address of its REST API"
    )
