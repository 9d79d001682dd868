"""The gRPC API of TensorFlow Serving: PredictionService and ModelService."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from pipeline.serving.errors import RequestError, invalid
from pipeline.serving.manager import Manager, State
from pipeline.serving.predictor import Predictor
from pipeline.serving.servable import Servable
from pipeline.serving.tensors import from_proto, to_proto

_LOG = logging.getLogger(__name__)
_SIGNATURE_DEF = "signature_def"


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; Classify, Regress and MultiInference are UNIMPLEMENTED."""

    def __init__(self, manager: Manager, predictor: Predictor):
        self._manager = manager
        self._predictor = predictor

    async def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        async with _answered(context):
            with self._predictor.observed("grpc") as known:
                spec = _spec(request)
                signature = self._predictor.signature(*_which(spec), spec.signature_name)
                known(signature)
                answer = await self._predictor.predict(
                    signature,
                    request.inputs,
                    from_proto,
                    request.output_filter,
                    context.time_remaining(),
                )
            response = predict_pb2.PredictResponse()
            response.model_spec.name = signature.model
            response.model_spec.version.value = signature.version
            response.model_spec.signature_name = signature.name
            for name, array in answer.outputs.items():
                response.outputs[name].CopyFrom(to_proto(array))
            return response

    async def GetModelMetadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        async with _answered(context):
            if not request.metadata_field:
                raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
            for field in request.metadata_field:
                if field != _SIGNATURE_DEF:
                    raise invalid(f"Metadata field {field} is not supported")
            return metadata(self._manager.find(*_which(_spec(request))))


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, manager: Manager):
        self._manager = manager

    async def GetModelStatus(
        self,
        request: get_model_status_pb2.GetModelStatusRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_status_pb2.GetModelStatusResponse:
        async with _answered(context):
            return status(self._manager.states(*_which(_spec(request))))

    async def HandleReloadConfigRequest(
        self,
        request: model_management_pb2.ReloadConfigRequest,
        context: grpc.aio.ServicerContext,
    ) -> model_management_pb2.ReloadConfigResponse:
        """Serves what the request says, until the store's `models.config` changes."""
        async with _answered(context):
            await self._manager.apply(request.config)
            return model_management_pb2.ReloadConfigResponse()


def metadata(servable: Servable) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of a servable, as both APIs tell them."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = servable.name
    response.model_spec.version.value = servable.version
    definitions = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in servable.definitions.items():
        definitions.signature_def[name].CopyFrom(definition)
    response.metadata[_SIGNATURE_DEF].Pack(definitions)
    return response


def status(states: dict[int, State]) -> get_model_status_pb2.GetModelStatusResponse:
    """States of versions, as both APIs tell them."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for version, state in states.items():
        one = response.model_version_status.add(
            version=version,
            state=get_model_status_pb2.ModelVersionStatus.State.Value(state.name),
        )
        one.status.error_code = state.code.value[0]
        one.status.error_message = state.message
    return response


def _spec(request) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return request.model_spec


def _which(spec: model_pb2.ModelSpec) -> tuple[str, int | None, str]:
    """Name, version and label."""
    version = spec.version.value if spec.HasField("version") else None
    return spec.name, version, spec.version_label


@contextlib.asynccontextmanager
async def _answered(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    """Errors become the status of the call."""
    try:
        yield
    except RequestError as error:
        await context.abort(error.code, error.message)
    except Exception as error:
        # `abort` itself ends a call with an exception.
        if isinstance(error, grpc.aio.AbortError):
            raise
        _LOG.exception("a request failed")
        await context.abort(grpc.StatusCode.INTERNAL, "the server failed; its log says why")
