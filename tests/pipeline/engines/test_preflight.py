"""What is refused before a job is submitted, without a look at the cluster; see test_flink.py."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from components.errors import PipelineError
from pipeline.config.config import load
from pipeline.engines import preflight
from tests.fixtures.job_server_jar import BEAM, arguments, job_server

NOWHERE = "flink.invalid:8081"


def refused(given: list[str]) -> str:
    with pytest.raises(PipelineError) as error:
        preflight.engine_of(given)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_cluster_that_is_not_there(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refused(arguments(address, job_server(tmp_path)))
    assert said.startswith(f"beam.flink.master: no Flink answers at http://{address} (")
    assert "refused" in said


def test_another_server_at_its_address(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"127.0.0.1:{server.server_port}"
        said = refused(arguments(address, job_server(tmp_path)))
        server.shutdown()
    assert said.startswith(f"beam.flink.master: GET http://{address}/v1/config answers 501 ")
    assert said.endswith("which is not Flink's REST API")


def test_a_job_server_that_cannot_be_used(tmp_path):
    missing = tmp_path / "none.jar"
    assert refused(arguments(NOWHERE, missing)).endswith(f"{missing} is no file")
    other = job_server(tmp_path, beam="2.1.0")
    assert f"is of Beam 2.1.0, and Beam is {BEAM} here" in refused(arguments(NOWHERE, other))
    renamed = job_server(tmp_path, inside="2.2.0")
    assert "is of Beam 2.2.0" in refused(arguments(NOWHERE, renamed))
    unknown = job_server(tmp_path).rename(tmp_path / "server.jar")
    assert "server.jar does not say of which versions" in refused(arguments(NOWHERE, unknown))
    broken = job_server(tmp_path)
    broken.write_text("<html>")
    assert "is no jar" in refused(arguments(NOWHERE, broken))


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
