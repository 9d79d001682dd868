"""The gRPC API of TensorFlow Serving: PredictionService and ModelService."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from pipeline.inference.channel import PACKED
from pipeline.serving.errors import RequestError, invalid
from pipeline.serving.manager import Manager, State
from pipeline.serving.off_loop import LARGE, away_if
from pipeline.serving.predictor import Predictor
from pipeline.serving.servable import Servable, Signature
from pipeline.serving.spec import arrays
from pipeline.serving.tensors import from_proto, is_large, to_proto

_LOG = logging.getLogger(__name__)
_SIGNATURE_DEF = "signature_def"


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; Classify, Regress and MultiInference are UNIMPLEMENTED."""

    def __init__(self, predictor: Predictor):
        self._predictor = predictor

    async def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        async with _answered(context):
            with self._predictor.observed("grpc") as known:
                spec = _spec(request)
                deadline = self._predictor.deadline(context.time_remaining())
                servable = await self._predictor.servable(*_which(spec), deadline)
                signature = self._predictor.signature(servable, spec.signature_name)
                known(signature)
                inputs = await away_if(
                    any(map(is_large, request.inputs.values())),
                    lambda: arrays(
                        signature.inputs, request.inputs, from_proto, self._predictor.max_rows
                    ),
                )
                outputs = await self._predictor.predict(
                    signature, inputs, deadline, request.output_filter
                )
            packed = PACKED in (context.invocation_metadata() or ())
            return await away_if(
                sum(each.nbytes for each in outputs.values()) > LARGE and not packed,
                lambda: _response(signature, outputs, packed),
            )

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
            deadline = self._predictor.deadline(context.time_remaining())
            servable = await self._predictor.servable(*_which(_spec(request)), deadline)
            return metadata(servable)

    async def _refuse(self, request: Any, context: grpc.aio.ServicerContext) -> None:
        # What the generated class does instead is a traceback in the log for each call.
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED, "this server has Predict and GetModelMetadata only"
        )

    Classify = Regress = MultiInference = _refuse


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; HandleReloadConfigRequest is UNIMPLEMENTED.

    What is served is for the release store alone to say, not for whoever reaches the port.
    """

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
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> None:
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            "the release store alone says what is served; change that with `vqvae releases`",
        )


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


def _response(
    signature: Signature, outputs: Mapping[str, np.ndarray], packed: bool
) -> predict_pb2.PredictResponse:
    response = predict_pb2.PredictResponse()
    response.model_spec.name = signature.model
    response.model_spec.version.value = signature.version
    response.model_spec.signature_name = signature.name
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(to_proto(array, packed))
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
