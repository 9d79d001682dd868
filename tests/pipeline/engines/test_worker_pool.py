"""`vqvae beam-worker`: what it starts, what it refuses, and how it ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys

import apache_beam as beam
import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker.log_handler import FnApiLogRecordHandler

from components.errors import PipelineError
from pipeline.config.config import load
from pipeline.engines import identity
from pipeline.engines.arguments import beam_arguments
from pipeline.engines.submission import submitted
from tests.fixtures.waiting import wait_until
from tests.fixtures.worker_pools import Pool, job_service, pool


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    (folder / "scratch").mkdir()
    with pool(folder, f"--scratch={folder / 'scratch'}") as found:
        yield found


@pytest.fixture(scope="module")
def arguments(running, tmp_path_factory):
    with job_service(tmp_path_factory.mktemp("service"), running.address) as endpoint:
        setting = f"beam={{runner: portable, portable: {{job_endpoint: '{endpoint}'}}}}"
        yield beam_arguments(load("digits", (setting,)).beam)


def ask(pool: Pool, **params: str) -> str:
    """The pool's error when it is asked for a worker of a runner that is not there."""
    with grpc.insecure_channel(pool.address) as channel:
        nowhere = {f"{name}_endpoint": {"url": "localhost:1"} for name in ("control", "provision")}
        request = beam_fn_api_pb2.StartWorkerRequest(worker_id="x", params=params, **nowhere)
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        return stub.StartWorker(request, timeout=60).error


def work(number: int) -> tuple[int, int, str]:
    return os.getpid(), number * number, os.environ["TMPDIR"]


def squares(arguments: list[str], out) -> list[str]:
    with (
        submitted(arguments, "Squares") as own,
        beam.Pipeline(options=PipelineOptions(own)) as pipeline,
    ):
        _ = (
            pipeline
            | beam.Create([1, 2, 3])
            | beam.Map(work)
            | beam.io.WriteToText(str(out), shard_name_template="")
        )
    return sorted(out.read_text().splitlines())


def test_a_job_runs_in_a_process_of_the_pool(running, arguments, tmp_path):
    found = [eval(line) for line in squares(arguments, tmp_path / "out")]
    assert sorted(square for _, square, _ in found) == [1, 4, 9]
    (worker,) = {process for process, _, _ in found}
    assert worker not in (os.getpid(), running.process.pid)
    assert {place for _, _, place in found} == {str(running.log.parent / "scratch")}
    wait_until(lambda: f"process {worker}: exit status 0" in running.said())
    assert running.bundles() > 0


def holds_the_log(number: int) -> int:
    """As a thread that is just logging when SIGTERM comes."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, FnApiLogRecordHandler):
            handler._log_entry_queue.mutex.acquire()
    return number


def test_a_worker_that_is_just_logging_ends_at_once(running, arguments):
    with (
        submitted(arguments, "Logs") as own,
        beam.Pipeline(options=PipelineOptions(own)) as pipeline,
    ):
        _ = pipeline | beam.Create([1]) | beam.Map(holds_the_log)
    wait_until(lambda: running.bundles("vqvae-logs-") > 0)
    wait_until(lambda: not running.workers())
    assert running.warnings() == []


def fails(number: int) -> int:
    raise PipelineError(f"record {number} cannot be used; repair the file")


def test_what_a_worker_says_to_the_user_is_the_error(arguments):
    with (
        pytest.raises(PipelineError, match=r"^record 7 cannot be used; repair the file$"),
        submitted(arguments, "Fails") as own,
        beam.Pipeline(options=PipelineOptions(own)) as pipeline,
    ):
        _ = pipeline | beam.Create([7]) | beam.Map(fails)


def test_a_job_of_other_code_is_refused_in_one_line(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "own", lambda: {**OWN, "vqvae_code": "0123456789abcdef"})
    with pytest.raises(PipelineError) as error:
        squares(arguments, tmp_path / "out")
    assert str(error.value) == (
        "the worker has other code than the job: vqvae_code "
        f"{OWN['vqvae_code']} instead of 0123456789abcdef; start `vqvae beam-worker` from the "
        "image, or the checkout, that submits the job"
    )


OWN = identity.own()


def test_a_job_of_somebody_else_is_refused(running):
    assert ask(running).startswith("the job does not say which code it needs")
    assert "apache_beam" in ask(running, **{**OWN, "apache_beam": "2.1.0"})
    assert running.workers() == []


def test_it_listens_to_this_machine_alone(running):
    assert running.address.startswith("127.0.0.1:")
    port = running.address.rsplit(":", 1)[1]
    taken = subprocess.run(
        [sys.executable, "-m", "pipeline", "beam-worker", f"--port={port}"],
        capture_output=True,
        text=True,
    )
    assert taken.returncode == 1
    assert f"127.0.0.1:{port} cannot be listened on" in taken.stderr.splitlines()[-1]


def test_sigterm_ends_it_and_its_workers(tmp_path):
    with pool(tmp_path) as other:
        assert ask(other, **OWN) == ""
        wait_until(lambda: bool(other.workers()))  # its log comes through another process
        (worker,) = other.workers()
        other.process.send_signal(signal.SIGTERM)
        assert other.process.wait() == 0
        assert gone(worker)


def test_workers_end_with_a_pool_that_is_killed(tmp_path):
    with pool(tmp_path) as other:
        assert ask(other, **OWN) == ""
        wait_until(lambda: bool(other.workers()))  # its log comes through another process
        (worker,) = other.workers()
        other.process.kill()
        other.process.wait()
        wait_until(lambda: gone(worker))


def gone(process: int) -> bool:
    """Whether a process has ended; one that nobody has waited for may be left as a zombie."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
