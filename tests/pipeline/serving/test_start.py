"""What a server answers between its start and the moment when every model is loaded."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from components.errors import PipelineError
from pipeline.serving import server
from pipeline.serving.manager import Manager
from tests.fixtures.served_releases import GenericClient, png, request, starting

CODES = np.zeros([1, 2, 2], np.int32)


@pytest.fixture
def gates(monkeypatch) -> dict[str, threading.Event]:
    """A model is loaded when its event is set."""
    gates = {name: threading.Event() for name in ("encode", "decode", "sample")}
    load = Manager._load_now

    def held(self, name, version):
        assert gates[name].wait(120)
        return load(self, name, version)

    monkeypatch.setattr(Manager, "_load_now", held)
    yield gates
    for each in gates.values():
        each.set()


def health(client: GenericClient) -> str:
    answer = health_pb2_grpc.HealthStub(client.channel).Check(
        health_pb2.HealthCheckRequest(), timeout=20
    )
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def state(client: GenericClient, model: str) -> str:
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = model
    stub = model_service_pb2_grpc.ModelServiceStub(client.channel)
    (found,) = stub.GetModelStatus(message, timeout=300).model_version_status
    return get_model_status_pb2.ModelVersionStatus.State.Name(found.state)


def looked_at(rest_port: int, model: str) -> tuple[int, dict]:
    url = f"http://localhost:{rest_port}/v1/models/{model}"
    try:
        with urllib.request.urlopen(url, timeout=300) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_each_model_answers_when_it_is_ready(first_release, gates):
    with starting(first_release) as begun:
        client = GenericClient(begun.ports[0])
        waits = client.stub.Predict.future(request("encode", images=[png()]), timeout=300)
        assert health(client) == "NOT_SERVING"
        assert state(client, "encode") == "LOADING"
        assert state(client, "sample") == "LOADING"
        status, answer = looked_at(begun.ports[1], "encode")
        # A probe takes 200 for ready, whatever the text says.
        assert (status, answer["model_version_status"][0]["state"]) == (503, "LOADING")
        assert not waits.done()
        gates["encode"].set()
        assert waits.result().model_spec.version.value == 1
        assert state(client, "encode") == "AVAILABLE"
        assert looked_at(begun.ports[1], "encode")[0] == 200
        assert looked_at(begun.ports[1], "decode")[0] == 503
        assert health(client) == "NOT_SERVING"  # two are missing
        code, text = client.refused(request("decode", codes=CODES), timeout=0.5)
        assert code == "DEADLINE_EXCEEDED", text
        assert not begun.ready.is_set()
        gates["decode"].set()
        gates["sample"].set()
        begun.ready.wait()
        assert health(client) == "SERVING"
        assert client.predict("decode", codes=CODES)["images"].shape == (1, 8, 8, 1)
        assert begun.running.served == {name: [1] for name in gates}


def test_probes_are_answered_before_tensorflow_is_imported(first_release, monkeypatch):
    imported, gate = server._imported_services, threading.Event()

    def held():
        assert gate.wait(120)
        return imported()

    monkeypatch.setattr(server, "_imported_services", held)
    with starting(first_release) as begun:
        client = GenericClient(begun.ports[0])
        predict = client.stub.Predict.future(request("encode", images=[png()]), timeout=300)
        assert health(client) == "NOT_SERVING"
        expected = {"error": "the server is starting; try again"}
        assert looked_at(begun.ports[1], "encode") == (503, expected)
        unknown = client.channel.unary_unary("/tensorflow.serving.Other/Call").future(b"")
        assert not predict.done()
        gate.set()
        assert predict.result().model_spec.version.value == 1
        assert unknown.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_model_that_cannot_be_loaded_ends_the_server_and_whoever_waits(store, gates):
    (store / "decode" / "1" / "saved_model.pb").write_bytes(b"not a graph")
    with starting(store) as begun:
        client = GenericClient(begun.ports[0])
        waits = client.stub.Predict.future(request("sample", labels=[0]), timeout=300)
        for each in gates.values():
            each.set()
        begun.ready.wait()
        assert waits.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE)
        (error,) = begun.failed
        assert isinstance(error, PipelineError)
        assert "release 1 of decode cannot be loaded" in str(error)
