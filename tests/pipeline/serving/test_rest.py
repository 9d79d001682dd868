"""`vqvae serve` over REST, with curl as anybody would use it."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.served_releases import GenericClient, png, serving

CODES = [[1, 2], [3, 4]]


@pytest.fixture(scope="module")
def running(first_release):
    with serving(first_release, max_rows=100, max_message_mib=1) as running:
        yield running


@pytest.fixture(scope="module")
def curl(running):
    """Status and JSON of a request made by curl."""

    def call(path: str, body=None, *options: str):
        command = ["curl", "--silent", "--show-error", "--max-time", "20", *options]
        command += ["--write-out", "\n%{http_code}", f"http://localhost:{running.rest_port}{path}"]
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            command += ["--data-binary", "@-"]
        done = subprocess.run(command, input=data, capture_output=True, check=True)
        text, _, status = done.stdout.rpartition(b"\n")
        return int(status), json.loads(text)

    return call


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def test_encode_by_row_and_by_column(curl, running):
    images = [png(0), png(1, (13, 9, 3))]
    expected = GenericClient(running.port).predict("encode", images=images)
    status, answer = curl(
        "/v1/models/encode:predict", {"instances": [{"images": b64(image)} for image in images]}
    )
    assert status == 200
    assert [row["codes"] for row in answer["predictions"]] == expected["codes"].tolist()
    assert [row["release"] for row in answer["predictions"]] == [1, 1]
    assert curl("/v1/models/encode:predict", {"instances": [b64(each) for each in images]}) == (
        200,
        answer,
    )
    for inputs in ([b64(each) for each in images], {"images": [b64(each) for each in images]}):
        status, columns = curl("/v1/models/encode:predict", {"inputs": inputs})
        assert status == 200
        assert columns["outputs"]["codes"] == expected["codes"].tolist()


def test_pixels_and_decode(curl):
    pixels = np.arange(64).reshape(1, 8, 8, 1).tolist()
    body = {"signature_name": "pixels", "instances": pixels}
    status, answer = curl("/v1/models/encode:predict", body)
    assert status == 200
    codes = answer["predictions"][0]["codes"]
    # With one output there is no name in front of it.
    status, answer = curl("/v1/models/decode:predict", {"instances": [codes]})
    assert (status, np.shape(answer["predictions"])) == (200, (1, 8, 8, 1))
    assert curl("/v1/models/decode:predict", {"inputs": [codes]}) == (
        200,
        {"outputs": answer["predictions"]},
    )


def test_sample_gives_the_same_images_as_grpc_and_disk(curl, running, first_release):
    inputs = {"labels": [0, 2, -1], "seed": 2**62, "temperature": 1}
    status, answer = curl("/v1/models/sample:predict", {"inputs": inputs})
    assert status == 200
    arrays = {
        "labels": np.array([0, 2, -1], np.int32),
        "seed": np.int64(2**62),
        "temperature": np.float32(1),
    }
    over_grpc = GenericClient(running.port).predict("sample", **arrays)
    signature = tf.saved_model.load(str(first_release / "sample/1")).signatures["serving_default"]
    on_disk = signature(**{name: tf.constant(value) for name, value in arrays.items()})
    for name in ("images", "codes"):
        np.testing.assert_array_equal(answer["outputs"][name], over_grpc[name])
        np.testing.assert_array_equal(over_grpc[name], on_disk[name])


@pytest.mark.parametrize("place", ["", "/versions/1", "/labels/stable"])
def test_versions_and_labels(curl, place):
    status, answer = curl(f"/v1/models/decode{place}:predict", {"instances": [CODES]})
    assert (status, len(answer["predictions"])) == (200, 1)
    status, answer = curl(f"/v1/models/decode{place}")
    assert status == 200
    assert answer["model_version_status"] == [
        {
            "version": "1",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ]


def test_metadata(curl):
    status, answer = curl("/v1/models/decode/versions/1/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "decode", "version": "1", "signature_name": ""}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["codes"]["dtype"] == "DT_INT32"
    sizes = [dim["size"] for dim in signature["inputs"]["codes"]["tensor_shape"]["dim"]]
    assert sizes == ["-1", "2", "2"]


def test_no_rows(curl):
    assert curl("/v1/models/encode:predict", {"inputs": []})[1]["outputs"]["codes"] == []
    assert curl("/v1/models/decode:predict", {"inputs": []})[0] == 400  # of what shape?


WRONG = [
    # path, body, status, part of the error
    ("/v1/models/nothing:predict", {"instances": [1]}, 404, "Servable not found for request"),
    ("/v1/models/decode/versions/9:predict", {"instances": [CODES]}, 404, "Specific(decode, 9)"),
    ("/v1/models/decode/labels/x:predict", {"instances": [CODES]}, 400, "Unrecognized servable"),
    ("/v1/models/decode/versions/" + 30 * "9", None, 400, "Failed to convert version"),
    ("/v1/models/nothing", None, 404, "Could not find any versions of model nothing"),
    ("/v1/models/decode/versions/9", None, 404, "Could not find version 9 of model decode"),
    ("/v1/models/nothing/metadata", None, 404, "Servable not found"),
    ("/v1/models/decode:classify", {"instances": [1]}, 501, "classify is not supported"),
    ("/v1/models", None, 400, "Malformed request: GET /v1/models"),
    ("/", None, 400, "Malformed request: GET /"),
    ("/v1/models/decode:predict", None, 400, "Malformed request: GET"),
    ("/v1/models/decode", {}, 400, "Malformed request: POST"),
    ("/v1/models/decode:predict", b"", 400, "JSON Parse error"),
    ("/v1/models/decode:predict", b"{'a'}", 400, "JSON Parse error"),
    ("/v1/models/decode:predict", b"\xff\xfe", 400, "JSON Parse error"),
    ("/v1/models/decode:predict", b"[" * 100_000, 400, "JSON Parse error"),
    ("/v1/models/decode:predict", [1], 400, "must be a JSON object"),
    ("/v1/models/decode:predict", {}, 400, "'instances' and 'inputs'"),
    ("/v1/models/decode:predict", {"instances": [1], "inputs": [1]}, 400, "one of the keys"),
    ("/v1/models/decode:predict", {"instances": []}, 400, "not empty"),
    ("/v1/models/decode:predict", {"instances": 3}, 400, "must be a list"),
    ("/v1/models/decode:predict", {"signature_name": 3, "instances": [1]}, 400, "signature_name"),
    ("/v1/models/decode:predict", {"signature_name": "x", "inputs": [1]}, 400, '"x" not found'),
    ("/v1/models/decode:predict", {"inputs": {"other": [CODES]}}, 400, "Sent extra: {other}"),
    ("/v1/models/decode:predict", {"inputs": [[[1, 2], [3]]]}, 400, "lists differ in length"),
    ("/v1/models/decode:predict", {"inputs": [[[1, 2], 3]]}, 400, "lists differ in length"),
    ("/v1/models/decode:predict", {"inputs": [[[1, 2], [3, 4.5]]]}, 400, "must be of type int32"),
    ("/v1/models/decode:predict", {"inputs": [[[1, 2], [3, "4"]]]}, 400, "Received: str"),
    ("/v1/models/decode:predict", {"inputs": [[[1, 2], [3, True]]]}, 400, "Received: bool"),
    ("/v1/models/decode:predict", {"inputs": [[[1, 2], [3, None]]]}, 400, "Received: NoneType"),
    ("/v1/models/decode:predict", {"inputs": [[[1, 2], [3, 2**40]]]}, 400, "not int32"),
    ("/v1/models/decode:predict", {"inputs": [[[1, 2], [3, 99]]]}, 400, "codes must be 0 to 15"),
    ("/v1/models/decode:predict", {"inputs": CODES}, 400, "must have the shape [N, 2, 2]"),
    ("/v1/models/decode:predict", {"inputs": [CODES] * 101}, 400, "at most 100"),
    ("/v1/models/encode:predict", {"inputs": [b64(b"garbage")]}, 400, "images: not a PNG"),
    ("/v1/models/encode:predict", {"inputs": [{"b64": "a"}]}, 400, "Unable to base64 decode"),
    ("/v1/models/encode:predict", {"inputs": [{"b64": 3}]}, 400, "images must hold strings"),
    ("/v1/models/encode:predict", {"inputs": [[]]}, 400, "images must hold strings"),
    ("/v1/models/encode:predict", {"inputs": "text"}, 400, "images must be a list"),
    ("/v1/models/sample:predict", {"instances": [0]}, 400, "with the inputs"),
    (
        "/v1/models/sample:predict",
        {"instances": [{"labels": 0, "seed": 1, "temperature": 1.0}]},
        400,
        "give 'inputs' instead",
    ),
    (
        "/v1/models/sample:predict",
        b'{"inputs": {"labels": [0], "seed": 1, "temperature": NaN}}',
        400,
        "JSON Parse error",
    ),
    (
        "/v1/models/sample:predict",
        {"inputs": {"labels": [-7], "seed": 1, "temperature": 1.0}},
        400,
        "labels must be -1",
    ),
    (
        "/v1/models/sample:predict",
        {"inputs": {"labels": [0], "seed": 2**70, "temperature": 1.0}},
        400,
        "seed",
    ),
    (
        "/v1/models/sample:predict",
        {"inputs": {"labels": [0], "seed": 1, "temperature": 1e300}},
        400,
        "temperature must be finite",
    ),
]


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    WRONG,
    ids=[f"{each[3]}-{i}" for i, each in enumerate(WRONG)],
)
def test_errors_are_json_with_the_status_of_tensorflow_serving(curl, path, body, status, text):
    answered, error = curl(path, body)
    assert (answered, list(error)) == (status, ["error"])
    assert text in error["error"]
    assert "\n" not in error["error"]


def test_a_body_above_the_limit(curl):
    body = {"inputs": [b64(bytes(2**20))]}
    status, error = curl("/v1/models/encode:predict", body)
    assert status == 413
    assert "larger than 1048576 bytes" in error["error"]


def test_a_compressed_body_counts_as_what_it_unpacks_to(curl):
    bomb = gzip.compress(bytes(50 * 2**20))
    assert len(bomb) < 2**17
    header = "Content-Encoding: gzip"
    status, _ = curl("/v1/models/encode:predict", bomb, "--header", header)
    assert status == 413
    whole = gzip.compress(json.dumps({"instances": [CODES]}).encode())
    assert curl("/v1/models/decode:predict", whole, "--header", header)[0] == 200


def test_strings_of_one_size_take_no_more_room_than_they_have(curl):
    """An array of text would give every element the room of the longest."""
    body = {"inputs": [["x" * 900_000, *range(20_000)]]}
    status, error = curl("/v1/models/decode:predict", body)
    assert (status, "Received: str" in error["error"]) == (400, True)


def test_connections_are_used_again(running):
    connection = http.client.HTTPConnection("localhost", running.rest_port, timeout=300)
    socket_of_first = None
    for body, status in ((b"{}", 400), (json.dumps({"inputs": [CODES]}).encode(), 200)):
        connection.request("POST", "/v1/models/decode:predict", body)
        answer = connection.getresponse()
        assert answer.status == status
        assert answer.getheader("Content-Type") == "application/json"
        answer.read()
        socket_of_first = socket_of_first or connection.sock
        assert connection.sock is socket_of_first
    connection.close()


def test_a_sender_slower_than_the_server_waits_is_cut_off(first_release, monkeypatch):
    """Slow-loris: header and body must arrive in time, however steadily they trickle."""
    monkeypatch.setattr("pipeline.serving.listeners.HANDSHAKE_SECONDS", 1.0)
    header = b"POST /v1/models/decode:predict HTTP/1.1\r\nHost: x\r\n"
    whole = header + b"Content-Length: 1000\r\n\r\n"
    with serving(first_release) as running:
        for beginning in (b"", header, whole):
            with socket.create_connection(("localhost", running.rest_port), 20) as trickle:
                trickle.sendall(beginning)
                start, received = time.monotonic(), None
                while received is None:
                    assert time.monotonic() - start < 300
                    try:
                        trickle.sendall(b"x")
                        trickle.settimeout(0.2)
                        received = trickle.recv(10_000)
                    except TimeoutError:
                        continue
                    except (BrokenPipeError, ConnectionResetError):
                        received = b""
            assert received == b"" or b" 400 " in received or b" 504 " in received


def test_metrics(running, curl):
    curl("/v1/models/decode:predict", {"instances": [CODES]})
    curl("/v1/models/made-up-by-a-client:predict", {"instances": [CODES]})
    connection = http.client.HTTPConnection("localhost", running.rest_port, timeout=300)
    connection.request("GET", "/monitoring/prometheus/metrics")
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.getheader("Content-Type").startswith("text/plain; version=")
    counted = (
        'vqvae_requests_total{api="rest",code="OK",model="decode",signature="serving_default"}'
    )
    assert counted in text
    assert 'vqvae_served_version{model="encode",version="1"} 1.0' in text
    assert "vqvae_request_seconds_bucket" in text
    assert "made-up-by-a-client" not in text
