"""What `vqvae serve` says of its models over gRPC: metadata, status, health."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
)


def test_metadata(client):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = "sample"
    answer = client.stub.GetModelMetadata(message, timeout=300)
    assert answer.model_spec.version.value == 1
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    default = signatures.signature_def["serving_default"]
    assert sorted(default.inputs) == ["labels", "seed", "temperature"]
    assert default.inputs["seed"].dtype == types_pb2.DT_INT64
    assert sorted(default.outputs) == ["codes", "images"]


@pytest.mark.parametrize(
    ("name", "fields", "code"),
    [
        ("encode", [], "INVALID_ARGUMENT"),
        ("encode", ["weights"], "INVALID_ARGUMENT"),
        ("nothing", ["signature_def"], "NOT_FOUND"),
    ],
)
def test_metadata_that_there_is_not(client, name, fields, code):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    message.model_spec.name = name
    with pytest.raises(grpc.RpcError) as refused:
        client.stub.GetModelMetadata(message, timeout=300)
    assert refused.value.code().name == code


def test_status(client):
    stub = model_service_pb2_grpc.ModelServiceStub(client.channel)
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = "encode"
    (found,) = stub.GetModelStatus(message, timeout=300).model_version_status
    assert (found.version, found.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    assert found.status.error_code == 0
    for name, version in (("nothing", None), ("encode", 9)):
        message = get_model_status_pb2.GetModelStatusRequest()
        message.model_spec.name = name
        if version:
            message.model_spec.version.value = version
        with pytest.raises(grpc.RpcError) as refused:
            stub.GetModelStatus(message, timeout=300)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_health(client):
    stub = health_pb2_grpc.HealthStub(client.channel)
    for service in ("", "tensorflow.serving.PredictionService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=300)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
