"""What is refused before a job is submitted to Flink, and how its jobs are cancelled."""

from __future__ import annotations

import os
import signal
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from components.errors import PipelineError
from components.trainer.preemption import Preempted
from components.versions import library_version
from pipeline.config.config import load
from pipeline.engines import preflight
from pipeline.engines.arguments import beam_arguments
from pipeline.engines.flink import Flink
from pipeline.engines.submission import submitted
from tests.fixtures.fake_flink import FakeFlink, serving

BEAM = library_version("apache-beam")


@pytest.fixture
def cluster():
    with serving(FakeFlink()) as found:
        yield found


def job_server(folder: Path, flink: str = "1.20", beam: str = BEAM, inside: str = BEAM) -> Path:
    path = folder / f"beam-runners-flink-{flink}-job-server-{beam}.jar"
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr("org/apache/beam/sdk/sdk.properties", f"version={inside}\n")
    return path


def arguments(master: str, jar: Path, parallelism: int = 2) -> list[str]:
    flink = f"{{master: '{master}', job_server_jar: {jar}, parallelism: {parallelism}}}"
    return beam_arguments(load("digits", (f"beam={{runner: flink, flink: {flink}}}",)).beam)


def refused(given: list[str]) -> str:
    with pytest.raises(PipelineError) as error:
        preflight.engine_of(given)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_cluster_that_can_take_the_job(cluster, tmp_path):
    assert preflight.engine_of(arguments(cluster.address, job_server(tmp_path))) is not None


def test_a_cluster_that_is_not_there(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refused(arguments(address, job_server(tmp_path)))
    assert said.startswith(f"beam.flink.master: no Flink answers at http://{address} (")
    assert "refused" in said


def test_another_version_of_flink(cluster, tmp_path):
    cluster.version = "1.19.2"
    said = refused(arguments(cluster.address, job_server(tmp_path)))
    assert f"is Flink 1.19.2, and beam-runners-flink-1.20-job-server-{BEAM}.jar is for" in said
    assert said.endswith("take the job server for Flink 1.19")


def test_too_few_slots(cluster, tmp_path):
    said = refused(arguments(cluster.address, job_server(tmp_path), parallelism=5))
    assert said.startswith("beam.flink.parallelism: 5 needs as many slots, and http://")
    assert "has 4; lower it, or start more TaskManagers" in said


def test_a_job_server_that_cannot_be_used(cluster, tmp_path):
    missing = tmp_path / "none.jar"
    assert refused(arguments(cluster.address, missing)).endswith(f"{missing} is no file")
    other = job_server(tmp_path, beam="2.1.0")
    assert f"is of Beam 2.1.0, and Beam is {BEAM} here" in refused(
        arguments(cluster.address, other)
    )
    renamed = job_server(tmp_path, inside="2.2.0")
    assert "is of Beam 2.2.0" in refused(arguments(cluster.address, renamed))
    unknown = job_server(tmp_path).rename(tmp_path / "server.jar")
    assert "server.jar does not say of which versions" in refused(
        arguments(cluster.address, unknown)
    )
    broken = job_server(tmp_path)
    broken.write_text("<html>")
    assert "is no jar" in refused(arguments(cluster.address, broken))


@pytest.mark.parametrize(
    ("settings", "path", "ok"),
    [
        ("runner: flink, flink: {master: 'flink:8081', job_server_jar: j}", "/data", False),
        ("runner: flink, flink: {master: 'flink:8081', job_server_jar: j}", "s3://b/data", True),
        ("runner: flink, flink: {master: 'localhost:8081', job_server_jar: j}", "/data", True),
        ("runner: flink, flink: {master: 'https://127.0.0.1:1', job_server_jar: j}", "/d", True),
        ("runner: portable, portable: {job_endpoint: 'jobs:8099'}", "/data", False),
        ("runner: portable, shared_paths: [/mnt], portable: {job_endpoint: 'j:1'}", "/mnt/d", True),
        ("runner: portable, shared_paths: [/mnt], portable: {job_endpoint: 'j:1'}", "/mnt2", False),
        ("workers: 2", "/data", True),
    ],
)
def test_paths_that_the_workers_do_not_see(settings, path, ok):
    beam = load("digits", (f"beam={{{settings}}}",)).beam
    if ok:
        preflight.check_paths(beam, {"--data": path, "release.path": None})
        return
    with pytest.raises(PipelineError, match=rf"^--data {path}: the workers of \S+ may not have"):
        preflight.check_paths(beam, {"--data": path})


def test_jobs_are_cancelled_by_name(cluster):
    cluster.jobs = {
        "a": {"name": "mine", "state": "RUNNING"},
        "b": {"name": "mine", "state": "FINISHED"},
        "c": {"name": "another", "state": "RUNNING"},
    }
    assert Flink(cluster.address).cancel("mine") == 1
    states = {each: job["state"] for each, job in cluster.jobs.items()}
    assert states == {"a": "CANCELED", "b": "FINISHED", "c": "RUNNING"}


def run(cluster: FakeFlink, given: list[str], then: Callable[[], object]) -> None:
    """Submits a job and, while it runs, does something."""
    with submitted(given, "Tokenizer") as own:
        (name,) = [each.removeprefix("--job_name=") for each in own if "--job_name" in each]
        cluster.jobs["x"] = {"name": name, "state": "RUNNING"}
        then()


def test_a_run_that_fails_cancels_its_job(cluster, tmp_path):
    given = arguments(cluster.address, job_server(tmp_path))
    with pytest.raises(ZeroDivisionError):
        run(cluster, given, lambda: 1 / 0)
    assert cluster.jobs["x"]["name"].startswith("vqvae-tokenizer-")
    assert cluster.jobs["x"]["state"] == "CANCELED"


def terminated() -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except Exception as error:  # as Beam does
        raise RuntimeError("the state stream ended") from error


def test_sigterm_cancels_the_job(cluster, tmp_path):
    given = arguments(cluster.address, job_server(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted, match=r"^Tokenizer: stopped by SIGTERM"):
        run(cluster, given, terminated)
    assert cluster.jobs["x"]["state"] == "CANCELED"
    assert signal.getsignal(signal.SIGTERM) == before
