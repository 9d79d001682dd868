"""New releases while requests come in: none is dropped, none is answered by two releases."""

from __future__ import annotations

import gc
import shutil
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from components.errors import PipelineError
from components.release_store import folder as folder_store
from components.release_store import store as release_store
from tests.fixtures.object_stores import s3_server
from tests.fixtures.served_releases import GenericClient, png, publish, request, serving

CODES = np.arange(4, dtype=np.int32).reshape(1, 2, 2)


def wait_for(condition, seconds: float = 300.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def states(client: GenericClient, model: str) -> dict[int, str]:
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = model
    stub = model_service_pb2_grpc.ModelServiceStub(client.channel)
    found = stub.GetModelStatus(message, timeout=300).model_version_status
    name = get_model_status_pb2.ModelVersionStatus.State.Name
    return {each.version: name(each.state) for each in found}


def test_without_a_release_there_is_nothing_to_serve(tmp_path):
    expected = r"nothing has been released to .*; `vqvae run` makes a release"
    with pytest.raises(PipelineError, match=expected), serving(tmp_path):
        pass


def test_a_port_that_is_taken(first_release):
    with serving(first_release) as running:
        for setting, option in (("port", "--port"), ("rest_port", "--rest-port")):
            taken = {setting: getattr(running, setting)}
            expected = f"cannot listen on .* choose another with {option}"
            with pytest.raises(PipelineError, match=expected), serving(first_release, **taken):
                pass


class Load(threading.Thread):
    """Asks all the time, and notes which release each answer came from."""

    def __init__(self, port: int):
        super().__init__()
        self.client = GenericClient(port)
        self.versions: list[int] = []
        self.error: BaseException | None = None
        self.stopped = threading.Event()

    def run(self) -> None:
        try:
            while not self.stopped.is_set():
                encoded = self.client.stub.Predict(request("encode", images=[png()]), timeout=300)
                version = encoded.model_spec.version.value
                assert list(encoded.outputs["release"].int64_val or [version]) == [version]
                self.versions.append(version)
                decoded = self.client.stub.Predict(request("decode", codes=CODES), timeout=300)
                # The three switch at once: whoever saw the new one never sees the old again.
                assert decoded.model_spec.version.value >= version
        except BaseException as error:
            self.error = error


def test_new_releases_take_over_without_a_request_lost(store, candidates):
    with serving(store) as running:
        load = [Load(running.port) for _ in range(4)]
        for each in load:
            each.start()
        for version in (2, 3, 4):
            assert publish(store, candidates[version % 2]) == version
            wait_for(lambda v=version: max(running.served["encode"]) == v)
            wait_for(lambda v=version: all(each.versions[-1:] == [v] for each in load))
        for each in load:
            each.stopped.set()
        for each in load:
            each.join()
            assert each.error is None, each.error
            assert each.versions == sorted(each.versions)
            assert set(each.versions) == {1, 2, 3, 4}
        # Freed, but for what is kept ready for a rollback.
        client = load[0].client
        wait_for(lambda: "UNLOADING" not in states(client, "sample").values())
        assert states(client, "sample")[4] == "AVAILABLE"
        assert states(client, "sample").get(1, "END") == "END"


def test_rollback_is_followed(store, candidates):
    publish(store, candidates[1])
    with serving(store) as running:
        client = GenericClient(running.port)
        assert client.predict("encode", images=[png()])["release"] == [2]
        folder_store.promote(store, 1)
        wait_for(lambda: client.predict("encode", images=[png()])["release"] == [1])
        code, _ = client.refused(request("encode", version=2, images=[png()]))
        assert code == "NOT_FOUND"


def test_a_damaged_release_leaves_the_old_one_serving(store, candidates, tmp_path):
    broken = {
        name: Path(shutil.copytree(folder, tmp_path / "broken" / name))
        for name, folder in candidates[1].items()
    }
    (broken["sample"] / "saved_model.pb").write_bytes(b"not a graph")
    with serving(store) as running:
        client = GenericClient(running.port)
        publish(store, broken)
        wait_for(lambda: states(client, "sample").get(2) == "END")
        assert running.served == {name: [1] for name in ("encode", "decode", "sample")}
        assert client.predict("encode", images=[png()])["release"] == [1]
        # It is still named, as the one before; that does not hold up the next.
        publish(store, candidates[1])
        wait_for(lambda: client.predict("encode", images=[png()])["release"] == [3])
        wait_for(lambda: states(client, "sample") == {1: "END", 2: "END", 3: "AVAILABLE"})


def test_an_old_release_answers_what_it_began(store, candidates):
    """A request that runs when the table changes is answered by the release it found."""
    inputs = {
        "labels": np.zeros([1000], np.int32),
        "seed": np.int64(1),
        "temperature": np.float32(1),
    }
    with serving(store, threads=1) as running:
        client = GenericClient(running.port)
        expected = client.predict("sample", **inputs)["images"]
        running_ones = [
            client.stub.Predict.future(request("sample", **inputs), timeout=300) for _ in range(20)
        ]
        publish(store, candidates[1])
        wait_for(lambda: 2 in running.served["sample"])
        for each in running_ones:
            answer = each.result()
            same = np.array_equal(tf.make_ndarray(answer.outputs["images"]), expected)
            assert same == (answer.model_spec.version.value == 1)


def write_config(store: Path, *models: model_server_config_pb2.ModelConfig) -> None:
    """Replaces `models.config` as a release does, all at once."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.extend(models)
    (store / "new.config").write_text(text_format.MessageToString(config))
    (store / "new.config").rename(store / "models.config")


def configured(name: str, versions=(1,), **labels: int) -> model_server_config_pb2.ModelConfig:
    model = model_server_config_pb2.ModelConfig(name=name, base_path=f"/there/{name}")
    model.model_version_policy.specific.versions.extend(versions)
    model.version_labels.update(labels)
    return model


def test_what_models_config_says_is_served(store, candidates):
    publish(store, candidates[1])
    folder_store.promote(store, 2)
    with serving(store) as running:
        client = GenericClient(running.port)
        models = [configured(name, (1, 2), stable=1, canary=2) for name in ("encode", "decode")]
        write_config(store, *models)
        wait_for(lambda: running.served == {"encode": [1, 2], "decode": [1, 2]})
        released = {
            label: int(client.predict("encode", "", None, label, images=[png()])["release"][0])
            for label in ("stable", "canary", "")
        }
        # Without a version or label it is the highest, as with TensorFlow Serving.
        assert released == {"stable": 1, "canary": 2, "": 2}
        code, _ = client.refused(request("sample", labels=[0]))
        assert code == "NOT_FOUND"  # it was left out
        folder_store.promote(store, 1)
        wait_for(lambda: running.served == {m: [1] for m in ("encode", "decode", "sample")})


def test_a_configuration_that_cannot_be_served_changes_nothing(store, caplog):
    elsewhere = model_server_config_pb2.ModelConfig(name="encode", base_path="/etc")
    with serving(store) as running:
        client = GenericClient(running.port)
        for model, message in (
            (configured("other"), "no model 'other' in the release store"),
            (configured("encode", (9,)), "no release 9 in"),
            (configured("encode", (1,), stable=9), "assign label to version 9"),
            (elsewhere, "must be the folder"),
        ):
            write_config(store, model)
            wait_for(lambda message=message: message in caplog.text)
            assert client.predict("decode", codes=CODES)["images"].shape[0] == 1
            assert states(client, "encode").get(1) == "AVAILABLE"
            assert "LOADING" not in states(client, "encode").values()


def test_a_store_in_an_object_store(candidates, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def copies() -> set[str]:
        return {path.parent.name for path in tmp_path.glob("serving-*/encode/*/saved_model.pb")}

    with s3_server("models"):
        uri = "s3://models/digits"
        with pytest.raises(PipelineError, match="nothing has been released"), serving(uri):
            pass
        for candidate in candidates:
            release_store.publish(uri, candidate, {"codebook_sha256": "x"})
        with serving(uri) as running:
            client = GenericClient(running.port)
            assert client.predict("encode", images=[png()])["release"] == [2]
            assert copies() == {"1", "2"}
            release_store.publish(uri, candidates[0], {"codebook_sha256": "x"})
            wait_for(lambda: client.predict("encode", images=[png()])["release"] == [3])
            assert copies() == {"2", "3"}  # only what is served
        assert copies() == set()


def test_what_was_replaced_is_freed(store, candidates):
    """Three releases later the server holds the last and the one before it."""
    from pipeline.serving.servable import Lease

    with serving(store) as running:
        before = sum(isinstance(each, Lease) for each in gc.get_objects())
        for version in range(2, 5):
            publish(store, candidates[version % 2])
            wait_for(lambda v=version: v in running.served["encode"])
        assert running.served["encode"] == [3, 4]
        wait_for(lambda: sum(isinstance(each, Lease) for each in gc.get_objects()) <= 2 * before)


def test_a_client_that_waits_gets_its_answer_when_the_server_stops(first_release):
    inputs = {
        "labels": np.zeros([1000], np.int32),
        "seed": np.int64(1),
        "temperature": np.float32(1),
    }
    with serving(first_release, threads=1) as running:
        client = GenericClient(running.port)
        client.predict("sample", **inputs)
        waiting = [
            client.stub.Predict.future(request("sample", **inputs), timeout=300) for _ in range(5)
        ]
        time.sleep(0.2)
    assert [each.code() for each in waiting] == [grpc.StatusCode.OK] * 5
    code, _ = client.refused(request("decode", codes=CODES))
    assert code == "UNAVAILABLE"
