"""`vqvae serve` against those who mean harm: it stays up, says no, and keeps within its memory."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from tests.fixtures.served_process import ServedProcess
from tests.fixtures.served_releases import GenericClient, png, request

pytestmark = [pytest.mark.slow, pytest.mark.alone]

# Over what the server has when it has answered its first requests.
MEMORY_MIB = 4096


@pytest.fixture(scope="module")
def served(first_release):
    with ServedProcess(first_release, "--max-message-mib", "16", "--grace", "5") as served:
        client = GenericClient(served.grpc)
        for _ in range(20):
            client.predict("encode", images=[png()] * 16)
        served.start_mib = served.peak_mib()
        yield served
        print(f"peak {served.start_mib:.0f} MiB before, {served.peak_mib():.0f} MiB after")
        _, _, errors = served.stop()
        assert len(errors) < 20_000  # nobody fills a disk with log lines
        assert "Traceback" not in errors


@pytest.fixture(autouse=True)
def still_there(served):
    """After each attack: it answers, right and soon, and has not grown without bound."""
    yield
    client = GenericClient(served.grpc)
    expected = client.predict("encode", images=[png()])["codes"]
    assert served.process.poll() is None
    start = time.monotonic()
    np.testing.assert_array_equal(client.predict("encode", images=[png()])["codes"], expected)
    assert time.monotonic() - start < 60
    assert post(served, "decode", {"instances": [[[1, 2], [3, 4]]]})[0] == 200
    assert served.peak_mib() < served.start_mib + MEMORY_MIB


def post(served, model: str, body, timeout: float = 300.0) -> tuple[int, bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"http://localhost:{served.rest}/v1/models/{model}:predict"
    try:
        with urllib.request.urlopen(url, data, timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def blank_png(height: int, width: int) -> bytes:
    """A valid PNG of one bit per pixel, all black, of next to no bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", packed), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_ten_megabytes_of_garbage_by_many_at_once(served):
    garbage = np.random.default_rng(0).bytes(10_000_000)

    def send(i: int):
        if i % 2:
            return GenericClient(served.grpc).refused(request("encode", images=[garbage]))[0]
        return post(served, "encode", garbage)[0]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(send, range(48)))
    assert set(answers[1::2]) == {"INVALID_ARGUMENT"}
    assert set(answers[0::2]) == {400}


def test_a_small_png_of_thirty_thousand_by_thirty_thousand_pixels(served):
    bomb = blank_png(30_000, 30_000)
    assert len(bomb) < 500_000
    start = time.monotonic()
    code, text = GenericClient(served.grpc).refused(request("encode", images=[png(), bomb]))
    assert code == "INVALID_ARGUMENT"
    assert "images: more than" in text
    body = {"instances": [{"b64": base64.b64encode(bomb).decode()}]}
    assert post(served, "encode", body)[0] == 400
    assert time.monotonic() - start < 60  # refused by its header


def test_images_as_large_as_are_allowed_all_at_once(served):
    large = blank_png(8_000, 8_000)
    assert len(large) < 50_000
    clients = [GenericClient(served.grpc) for _ in range(4)]
    waiting = [
        client.stub.Predict.future(request("encode", images=[large] * 4), timeout=120)
        for client in clients
    ]
    # Whoever waits is answered in time or told that it took too long.
    codes = {each.code() for each in waiting}
    assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}


def test_a_thousand_idle_connections(served):
    idle = []
    try:
        for _ in range(500):
            for port in (served.grpc, served.rest):
                idle.append(socket.create_connection(("localhost", port), 20))
        assert GenericClient(served.grpc).predict("encode", images=[png()])["release"] == [1]
        assert post(served, "decode", {"instances": [[[1, 2], [3, 4]]]})[0] == 200
    finally:
        for each in idle:
            each.close()


def test_slow_loris(served):
    """Two hundred senders that trickle; others are answered meanwhile, and they are cut off."""
    # One that has its answer is at its end, too.
    begun = [socket.create_connection(("localhost", served.rest), 20) for _ in range(200)]
    header = b"POST /v1/models/decode:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n"
    for i, each in enumerate(begun):
        each.sendall(header[: len(header) if i % 2 else 40])
    cut_off, end = 0, time.monotonic() + 600
    while cut_off < len(begun) and time.monotonic() < end:
        cut_off = 0
        for each in begun:
            cut_off += _ended(each)
        status, _ = post(served, "decode", {"instances": [[[1, 2], [3, 4]]]})
        # Predictions that are being sent take up places, and there are 128.
        assert status in (200, 503)
        time.sleep(0.5)
    assert cut_off == len(begun)
    for each in begun:
        each.close()


def _ended(connection: socket.socket) -> bool:
    """Sends one more byte; whether the server has answered or closed by now."""
    try:
        connection.sendall(b"x")
        connection.setblocking(False)
        connection.recv(1000)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.setblocking(True)
    return True


def test_a_flood_of_more_than_it_can_do(served):
    """Everybody is answered: served, or told to come again."""
    inputs = {
        "labels": np.zeros([1000], np.int32),
        "seed": np.int64(1),
        "temperature": np.float32(1),
    }
    clients = [GenericClient(served.grpc) for _ in range(8)]
    waiting = [
        clients[i % 8].stub.Predict.future(request("sample", **inputs), timeout=5)
        for i in range(600)
    ]
    codes = [each.code().name for each in waiting]
    assert set(codes) <= {"OK", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    assert "OK" in codes


def test_rubbish_instead_of_a_protocol(served):
    generator = np.random.default_rng(1)
    stop = time.monotonic() + 5

    def attack(port: int) -> None:
        while time.monotonic() < stop:
            with socket.create_connection(("localhost", port), 20) as connection:
                connection.settimeout(0.2)
                try:
                    connection.sendall(generator.bytes(5000))
                    connection.recv(1000)
                except OSError:
                    pass

    attackers = [
        threading.Thread(target=attack, args=(port,)) for port in (served.grpc, served.rest) * 4
    ]
    for each in attackers:
        each.start()
    for each in attackers:
        each.join()


def test_json_that_is_heavier_than_it_looks(served):
    for body in (
        b"[" * 5_000_000,
        b'{"inputs": ' + b"[" * 1000 + b"]" * 1000 + b"}",
        b'{"inputs": [' + b"[]," * 4_000_000 + b"[]]}",
        b'{"inputs": [' + b"1," * 5_000_000 + b"1]}",
        b'{"inputs": ["' + b"x" * 8_000_000 + b'"' + b",1" * 1_000_000 + b"]}",
    ):
        assert post(served, "decode", body)[0] == 400
        assert post(served, "encode", body)[0] == 400
