"""Large JSON bodies: others are answered while they are decoded, and their number is bounded."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.fixtures.served_releases import GenericClient, serving

PIXELS = np.random.default_rng(0).integers(100, 256, (20_000, 8, 8, 1), np.uint8)
PATH = "/v1/models/encode:predict"


def body(rows: int) -> bytes:
    return json.dumps({"signature_name": "pixels", "instances": PIXELS[:rows].tolist()}).encode()


def asked(port: int, content: bytes | None = None, path: str = PATH) -> tuple[int, dict, float]:
    """Status and JSON of an answer, and the seconds that it took."""
    start = time.monotonic()
    connection = http.client.HTTPConnection("localhost", port, timeout=300)
    with contextlib.closing(connection):
        connection.request("GET" if content is None else "POST", path, content)
        answer = connection.getresponse()
        return answer.status, json.load(answer), time.monotonic() - start


def decoders() -> list[int]:
    """Processes of this one that decode."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"json_worker" in (each / "cmdline").read_bytes():
                found.append(int(each.name))
    return found


@pytest.fixture(scope="module")
def running(first_release):
    with serving(first_release, max_rows=100_000) as running:
        yield running
    assert decoders() == []


def test_a_large_body_is_answered_as_a_small_one(running):
    large = asked(running.rest_port, body(2000))
    assert large[0] == 200
    rows = large[1]["predictions"]
    assert len(rows) == 2000
    few = asked(running.rest_port, body(5))[1]["predictions"]
    assert rows[:5] == few
    wrong = body(2000).replace(b"[[[[", b'[[[["1"], [', 1)
    status, error, _ = asked(running.rest_port, wrong)
    assert (status, error["error"]) == (400, "images is not a tensor: its lists differ in length")
    assert asked(running.rest_port, b"[" * 100_000)[1]["error"].startswith("JSON Parse error")


def test_probes_are_answered_while_large_bodies_are_decoded(running):
    content = body(20_000)
    channel = GenericClient(running.port).channel
    check = health_pb2_grpc.HealthStub(channel).Check
    asked(running.rest_port, body(2000))  # the process is there
    answers = []
    senders = [
        threading.Thread(target=lambda: answers.append(asked(running.rest_port, content)))
        for _ in range(3)
    ]
    waits = []
    for each in senders:
        each.start()
    while any(each.is_alive() for each in senders):
        waits.append(asked(running.rest_port, path="/v1/models/encode")[2])
        start = time.monotonic()
        check(health_pb2.HealthCheckRequest(), timeout=300)
        waits.append(time.monotonic() - start)
    # Each is answered or told that it took too long; this is about the others.
    assert {status for status, _, _ in answers} <= {200, 504}
    # Decoding one body in the loop would hold up a probe for a third of all the time.
    # One wait may be the scheduler's; the loop would have held up one probe for each body.
    assert sorted(waits)[-2] < max(seconds for _, _, seconds in answers) / 6
    assert len(waits) > 20


def test_more_bytes_than_the_server_keeps_are_refused(first_release):
    settings = {"max_message_mib": 4, "max_requests": 4}  # 8 MiB of bodies
    header = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n" % PATH.encode()
    with serving(first_release, **settings) as running, contextlib.ExitStack() as held:
        senders = []
        for _ in range(3):
            sender = socket.create_connection(("localhost", running.rest_port), 60)
            senders.append(held.enter_context(sender))
            sender.sendall(header + b" " * 3_990_000)
        # There is room for two of them; the third is told so, before it is at its end.
        (refused,), _, _ = select.select(senders, [], [], 60)
        answer = refused.recv(10_000)
        assert b" 503 " in answer
        assert b"the server has too many bytes of requests; try again" in answer
        assert asked(running.rest_port, b'{"inputs": []}')[0] == 200  # a small one finds room
        senders.remove(refused)
        for sender in senders:
            sender.sendall(b" " * 10_000)
            assert b" 400 " in sender.recv(10_000)  # spaces are no JSON
        assert asked(running.rest_port, b" " * 4_000_000)[0] == 400


def test_a_decoder_that_is_killed_is_replaced(running):
    assert asked(running.rest_port, body(2000))[0] == 200
    for each in decoders():
        os.kill(each, signal.SIGKILL)
    statuses = [asked(running.rest_port, body(2000))[0] for _ in range(4)]
    assert statuses[-1] == 200
    assert set(statuses) <= {200, 503}


def test_large_answers_are_whole(running):
    codes = np.random.default_rng(0).integers(0, 16, (3000, 2, 2), np.int32)
    content = json.dumps({"instances": codes.tolist()}).encode()
    status, answer, _ = asked(running.rest_port, content, "/v1/models/decode:predict")
    assert status == 200
    client = GenericClient(running.port)
    expected = client.predict("decode", codes=codes, timeout=60)["images"]
    np.testing.assert_array_equal(np.array(answer["predictions"]), expected)
