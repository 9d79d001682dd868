"""`vqvae serve` over gRPC, with a client that knows only TensorFlow Serving's stubs."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
)

from pipeline.inference.channel import PACKED
from pipeline.serving import tensors
from tests.fixtures.served_releases import NUM_CODES, GenericClient, png, request, serving


@pytest.fixture(scope="module")
def loaded(first_release):
    return {
        name: tf.saved_model.load(str(first_release / name / "1")).signatures
        for name in ("encode", "decode", "sample")
    }


def drawing(labels, seed=3, temperature=1.0):
    return {
        "labels": np.array(labels, np.int32),
        "seed": np.int64(seed),
        "temperature": np.float32(temperature),
    }


CONTROLS = {"top_k": np.int32(4), "top_p": np.float32(0.9)}
GIVEN = {"codes": np.ones([2, 2, 2], np.int32), "rows_given": np.int32(1)}


@pytest.mark.parametrize(
    ("model", "signature", "inputs"),
    [
        ("encode", "", {"images": [png(0), png(1, (20, 31, 3))]}),
        ("encode", "serving_default", {"images": [png(0)]}),
        ("encode", "pixels", {"images": np.zeros([2, 8, 8, 1], np.uint8)}),
        ("decode", "", {"codes": np.ones([3, 2, 2], np.int32)}),
        ("sample", "", drawing([0, -1, 2])),
        ("sample", "controlled", {**drawing([0, 1]), **CONTROLS}),
        ("sample", "complete", {**drawing([0, 1]), **CONTROLS, **GIVEN}),
        ("sample", "guided", {**drawing([0, 1]), **CONTROLS, "guidance": np.float32(2.0)}),
        ("sample", "identity", {"rows": np.zeros([2], np.int32)}),
        ("encode", "pixels", {"images": np.zeros([0, 8, 8, 1], np.uint8)}),
        ("decode", "", {"codes": np.zeros([0, 2, 2], np.int32)}),
        ("sample", "", drawing([])),
    ],
)
def test_every_signature_answers_as_the_savedmodel_on_disk(
    client, loaded, model, signature, inputs
):
    answered = client.predict(model, signature, **inputs)
    function = loaded[model][signature or "serving_default"]
    expected = function(**{name: tf.constant(value) for name, value in inputs.items()})
    assert answered.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(answered[name], value.numpy(), name)
        assert answered[name].dtype == value.dtype.as_numpy_dtype


def test_no_images_have_no_codes(client):
    none = tensor(types_pb2.DT_STRING, (0,))
    assert client.predict("encode", images=none)["codes"].shape == (0, 2, 2)


def test_the_answer_names_the_release(client):
    response = client.stub.Predict(request("encode", images=[png()]), timeout=300)
    assert response.model_spec.name == "encode"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"
    assert tf.make_ndarray(response.outputs["release"]).tolist() == [1]


def test_only_outputs_that_are_asked_for_are_sent(client):
    message = request("sample", **drawing([1]))
    message.output_filter.append("codes")
    assert list(client.stub.Predict(message, timeout=300).outputs) == ["codes"]


def test_a_large_request_runs_in_parts_and_comes_back_whole(client, loaded):
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), np.uint8)
    codes = client.predict("encode", "pixels", images=images)["codes"]
    expected = loaded["encode"]["pixels"](images=tf.constant(images))["codes"]
    np.testing.assert_array_equal(codes, expected)


def tensor(dtype=types_pb2.DT_INT32, shape=(2, 2, 2), **fields):
    """A TensorProto that need not be right."""
    proto = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("model", "signature", "inputs", "output", "field"),
    [
        ("decode", "", {"codes": np.ones([3, 2, 2], np.int32)}, "images", "int_val"),
        ("encode", "", {"images": [png(0), png(1)]}, "codes", "int_val"),
        ("encode", "", {"images": [png(0), png(1)]}, "release", "int64_val"),
        ("encode", "identity", {"rows": np.zeros([2], np.int32)}, "codebook_sha256", "string_val"),
    ],
)
def test_answers_have_their_values_where_tensorflow_serving_puts_them(
    client, loaded, model, signature, inputs, output, field
):
    """There are clients that look nowhere but in the field of the type."""
    response = client.stub.Predict(request(model, signature, **inputs), timeout=300)
    proto = response.outputs[output]
    function = loaded[model][signature or "serving_default"]
    expected = function(**{name: tf.constant(value) for name, value in inputs.items()})[output]
    assert list(getattr(proto, field)) == expected.numpy().ravel().tolist()
    assert [dim.size for dim in proto.tensor_shape.dim] == expected.shape
    assert proto.tensor_content == b""


def test_a_client_may_ask_for_packed_numbers(client):
    message = request("decode", codes=np.ones([3, 2, 2], np.int32))
    typed = client.stub.Predict(message, timeout=300).outputs["images"]
    packed = client.stub.Predict(message, timeout=300, metadata=[PACKED]).outputs["images"]
    assert len(packed.tensor_content) == 3 * 8 * 8
    np.testing.assert_array_equal(tf.make_ndarray(packed), tf.make_ndarray(typed))


def test_requests_may_have_their_values_in_either_place(client, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), np.uint8)
    codes = client.predict("encode", "pixels", images=pixels)["codes"]
    monkeypatch.setattr(tensors, "_STEP", 1000)
    for count in (100, 3):  # by two ways of reading them
        message = request("encode", "pixels")
        values = pixels[:count].ravel().tolist()
        fields = tensor(types_pb2.DT_UINT8, (count, 8, 8, 1), int_val=values)
        message.inputs["images"].CopyFrom(fields)
        answer = client.stub.Predict(message, timeout=300)
        np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["codes"]), codes[:count])


@pytest.mark.parametrize("rows", [1, 100])
def test_fewer_values_than_the_shape_has_repeat_the_last(client, rows):
    values = [1, 2, 3]
    message = request("decode", codes=tensor(shape=(rows, 2, 2), int_val=values))
    full = np.array(values + [3] * (4 * rows - 3), np.int32).reshape(rows, 2, 2)
    answer = client.stub.Predict(message, timeout=300).outputs["images"]
    expected = client.predict("decode", codes=full)["images"]
    np.testing.assert_array_equal(tf.make_ndarray(answer), expected)


INVALID = {
    "undecodable": request("encode", images=[png(), b"garbage"]),
    "empty image": request("encode", images=[b""]),
    "ten megabytes of garbage": request("encode", images=[bytes(10_000_000)]),
    "wrong rank of images": request("encode", images=[[png()]]),
    "scalar": request("encode", images=png()),
    "wrong size": request("encode", "pixels", images=np.zeros([1, 9, 8, 1], np.uint8)),
    "wrong type": request("encode", images=np.zeros([1], np.int32)),
    "unknown type": request("decode", codes=tensor(dtype=99)),
    "code too high": request("decode", codes=np.full([1, 2, 2], NUM_CODES, np.int32)),
    "code below 0": request("decode", codes=np.full([1, 2, 2], -1, np.int32)),
    "wrong rank of codes": request("decode", codes=np.zeros([2, 2], np.int32)),
    "negative size": request("decode", codes=tensor(shape=(-1, 2, 2), int_val=[1])),
    "no values": request("decode", codes=tensor()),
    "too few bytes": request("decode", codes=tensor(tensor_content=b"12345")),
    "too many values": request("decode", codes=tensor(shape=(1, 2, 2), int_val=range(5))),
    "a string for all": request(
        "encode", images=tensor(types_pb2.DT_STRING, (90,), string_val=[png()])
    ),
    "label below -1": request("sample", **drawing([-2])),
    "label too high": request("sample", **drawing([3])),
    "temperature NaN": request("sample", **drawing([0], temperature=float("nan"))),
    "temperature 0": request("sample", **drawing([0], temperature=0.0)),
    "temperature infinite": request("sample", **drawing([0], temperature=float("inf"))),
    "seed not a scalar": request("sample", **{**drawing([0]), "seed": np.zeros([1], np.int64)}),
    "missing input": request("sample", labels=np.zeros([1], np.int32)),
    "extra input": request("decode", codes=np.zeros([1, 2, 2], np.int32), more=1),
    "too many rows": request("sample", **drawing([0] * 101)),
    "as many rows as there are numbers": request(
        "decode", codes=tensor(shape=(2**40, 2, 2), int_val=[1])
    ),
    "no name": request(""),
    "no such label": request("encode", label="nightly", images=[png()]),
}


@pytest.mark.parametrize("case", INVALID)
def test_what_cannot_be_used_is_invalid_argument_in_one_line(client, case):
    code, text = client.refused(INVALID[case])
    assert code == "INVALID_ARGUMENT", text
    assert text
    assert "\n" not in text
    assert "{{node" not in text


@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("undecodable", "images"),
        ("wrong size", r"images must have the shape [N, 8, 8, 1]. Received: [1, 9, 8, 1]"),
        ("wrong type", "images must be of type string. Received: DT_INT32"),
        ("code too high", "codes must be 0 to 15"),
        ("temperature NaN", "temperature must be finite and above 0"),
        ("label below -1", "labels must be -1 (unconditional) to 2"),
        ("missing input", "Missing but required: {seed,temperature}"),
        ("too many rows", "labels has 101 rows; this server takes at most 100"),
        ("no such label", "Unrecognized servable version label: nightly"),
    ],
)
def test_the_error_names_what_is_wrong(client, case, names):
    assert names in client.refused(INVALID[case])[1]


def test_one_bad_image_is_not_the_fault_of_others(port):
    """Requests that are computed together fail alone."""
    clients = [GenericClient(port) for _ in range(8)]
    futures = [
        clients[i % 8].stub.Predict.future(
            request("encode", images=[b"garbage" if i % 4 == 0 else png(i)]), timeout=20
        )
        for i in range(64)
    ]
    codes = [future.code().name for future in futures]
    assert codes == ["INVALID_ARGUMENT" if i % 4 == 0 else "OK" for i in range(64)]


def test_an_error_does_not_repeat_megabytes(client):
    long = "x" * 1_000_000
    for message in (request("encode", **{long: 1}), request(long), request("encode", long)):
        code, text = client.refused(message)
        assert code in ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION")
        assert len(text) < 600


def test_what_is_not_there(client):
    assert client.refused(request("nothing", images=[png()])) == (
        "NOT_FOUND",
        "Servable not found for request: Latest(nothing)",
    )
    code, text = client.refused(request("encode", version=7, images=[png()]))
    assert (code, text) == ("NOT_FOUND", "Servable not found for request: Specific(encode, 7)")
    code, text = client.refused(request("encode", "nothing", images=[png()]))
    assert code == "FAILED_PRECONDITION"
    assert text.startswith('Serving signature key "nothing" not found.')
    message = request("encode", images=[png()])
    message.output_filter.append("nothing")
    assert client.refused(message)[0] == "INVALID_ARGUMENT"


def test_other_services_of_tensorflow_serving_are_unimplemented(client, caplog):
    from tensorflow_serving.apis import classification_pb2

    with pytest.raises(grpc.RpcError) as refused:
        client.stub.Classify(classification_pb2.ClassificationRequest(), timeout=300)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert not caplog.records  # whoever calls it does not fill the log


@pytest.mark.parametrize("models", [[], ["encode"]])
def test_no_request_changes_what_is_served(client, models):
    stub = model_service_pb2_grpc.ModelServiceStub(client.channel)
    message = model_management_pb2.ReloadConfigRequest()
    message.config.model_config_list.SetInParent()
    for name in models:
        message.config.model_config_list.config.add(name=name, base_path=f"/x/{name}")
    with pytest.raises(grpc.RpcError) as refused:
        stub.HandleReloadConfigRequest(message, timeout=300)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "`vqvae releases`" in refused.value.details()
    assert client.predict("decode", codes=np.zeros([1, 2, 2], np.int32))["images"].shape[0] == 1


def test_a_message_above_the_limit(first_release):
    with serving(first_release, max_message_mib=1) as running:
        client = GenericClient(running.port)
        code, _ = client.refused(request("encode", images=[bytes(2**20 + 1)]))
        assert code == "RESOURCE_EXHAUSTED"
        assert client.predict("encode", images=[png()])["codes"].shape == (1, 2, 2)


def test_a_request_whose_deadline_has_passed(client):
    code, _ = client.refused(request("sample", **drawing([0] * 100)), timeout=0.0005)
    assert code == "DEADLINE_EXCEEDED"
