"""Client of a server of released models: `vqvae serve`, or TensorFlow Serving."""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from components.errors import PipelineError
from components.features import DataKind
from models.audio.config import AudioConfig
from models.exported import ENCODED, pixels_of
from pipeline.inference import channel, models
from pipeline.inference.errors import InvalidInput, ServerError, first_line
from pipeline.inference.models import Drawn, Encoded, Identity

_IN_FLIGHT = 3
_SIGNATURES = "signature_def"


class _Answer(NamedTuple):
    outputs: dict[str, np.ndarray]
    release: int


class Client:
    """The models behind a gRPC server; a `pipeline.inference.models.Models`.

    >>> with Client("localhost:8500") as client:
    ...     codes = client.encode([png]).codes
    ...     images = client.decode(codes)

    Args:
        target: `host:port`.
        label: version label, `stable` or `canary`; empty or None for the newest that is served.
        version: a release, instead of a label.
        timeout: seconds that a call may take, repetitions included.
        tls: False for none, True for the system's certificates, or a file of PEM certificates
            that the server's is checked against.
        tls_cert, tls_key: files of this client's own certificate and its key in PEM format, for a
            server that asks for one; with them, `tls` is at least True.
        max_message_mib: the largest request or answer, in MiB, 1 to 2,047.

    Every method raises `InvalidInput` with the server's words for INVALID_ARGUMENT, and
    `ServerError` for everything else. A call that finds the server UNAVAILABLE is repeated up
    to four times over about eight seconds, unless the timeout is over before.
    """

    def __init__(
        self,
        target: str,
        *,
        label: str | None = "stable",
        version: int | None = None,
        timeout: float = 30.0,
        tls: bool | str | Path = False,
        tls_cert: str | Path | None = None,
        tls_key: str | Path | None = None,
        max_message_mib: int = 256,
    ):
        self._target, self._timeout = target, timeout
        self._label, self._version = label, version
        self._is_pinned = False  # the version was found out, not asked for
        self._max_message_mib = max_message_mib
        credentials = channel.credentials(tls, tls_cert, tls_key)
        self._channel = channel.connected(target, credentials, max_message_mib << 20)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection, and that of every client that `at` made of this one."""
        self._channel.close()

    def at(self, release: int) -> Client:
        """A client of this release only, over the same connection."""
        pinned = object.__new__(Client)
        pinned.__dict__.update(self.__dict__, _version=release, _is_pinned=True)
        return pinned

    def identity(self, model: str = "encode") -> Identity:
        """The release and the codebook of `encode`, `decode` or `sample`."""
        answer = self._call(model, "identity", {"rows": np.ones([1], np.int32)})
        (sha256,) = answer.outputs["codebook_sha256"]
        return Identity(answer.release, sha256.decode())

    def of_codebook(self, codebook_sha256: str, release: int) -> Client | None:
        """A client of `release` if it is served and has this codebook."""
        client = self.at(release)
        try:
            found = client.identity("decode").codebook_sha256
        except InvalidInput:  # it has no such signature
            return None
        except ServerError as error:
            if error.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
                return None
            raise
        return client if found == codebook_sha256 else None

    def audio(self, model: str = "encode") -> AudioConfig | None:
        """The settings of the sound that the release takes and gives; None for one of images."""
        answer = self._call(model, "identity", {"rows": np.ones([1], np.int32)})
        if (told := answer.outputs.get("audio")) is None:
            return None
        return models.read_audio(told[0], answer.release)

    def takes_labels(self) -> bool:
        """Whether `decode` takes labels: its decoder is conditional."""
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        self._name("decode", request.model_spec)
        request.metadata_field.append(_SIGNATURES)
        call = self._stub.GetModelMetadata.future(request, timeout=self._timeout)
        try:
            response = self._answer("decode", call)
        except ServerError as error:
            if error.code is grpc.StatusCode.UNIMPLEMENTED:  # no server of ours or TensorFlow's
                return False
            raise
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[_SIGNATURES].Unpack(signatures)
        return "labels" in signatures.signature_def["serving_default"].inputs

    def label_names(self) -> Sequence[str]:
        """What labels 0, 1, … are called: only a release's manifest says so."""
        return ()

    def encode(self, images: Sequence[bytes], kind: DataKind = "image") -> Encoded:
        """Codes int32 [N, h, w(, g)] of PNG or JPEG images, in one call.

        Args:
            images: to encode, or WAV files of a window each: 16-bit, of one channel, at the rate
                of `audio()`.
            kind: which of both.
        """
        inputs = {ENCODED[kind]: _strings(images)}
        answer = self._call("encode", "serving_default", inputs)
        return Encoded(answer.outputs["codes"], answer.release)

    def encode_pixels(self, images: np.ndarray) -> Encoded:
        """Codes int32 [N, h, w(, g)] of images uint8 [N, H, W, C] of the model's size."""
        answer = self._call("encode", "pixels", {"images": np.asarray(images, np.uint8)})
        return Encoded(answer.outputs["codes"], answer.release)

    def decode(self, codes: np.ndarray, labels: Sequence[int] | None = None) -> np.ndarray:
        """Images uint8 [N, H, W, C] of codes int32 [N, h, w(, g)], in one call.

        Args:
            codes: of the images; of a release of audio they are spectrograms, see `waveform`.
            labels: of the images, -1 where not known; for a release with a conditional decoder,
                which needs them, and for no other.
        """
        inputs = {"codes": np.asarray(codes, np.int32)}
        if labels is not None:
            inputs["labels"] = np.asarray(labels, np.int32)
        return pixels_of(self._call("decode", "serving_default", inputs).outputs)

    def waveform(self, frames: np.ndarray) -> np.ndarray:
        """Sound float32 [N, T · hop] of spectrograms uint8 [N, T, mels, 1], in one call."""
        inputs = {"frames": np.asarray(frames, np.uint8)}
        return self._call("decode", "waveform", inputs).outputs["audio"]

    def sample(
        self,
        labels: Sequence[int],
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        guidance: float = 1.0,
    ) -> Drawn:
        """Images drawn from the prior in one call, one for each label; -1 is unconditional.

        Args:
            labels: classes.
            seed: int64; the same seed gives the same images.
            temperature: divides the logits; above 0.
            top_k: draws among the k likeliest codes, 0 among all.
            top_p: draws among the fewest codes with this probability together, 1 among all.
            guidance: how clearly images show their label; 1 as drawn, above more, 0 not.
        """
        asked = models.drawing(labels, seed, temperature, top_k, top_p, guidance)
        answer = self._call("sample", *asked)
        images, codes = pixels_of(answer.outputs), answer.outputs["codes"]
        return Drawn(images, codes, answer.release, answer.outputs.get("audio"))

    def encode_stream(
        self,
        images: Iterable[bytes],
        kind: DataKind = "image",
        *,
        batch: int = models.BATCH,
        batch_bytes: int = models.BATCH_BYTES,
        in_flight: int = _IN_FLIGHT,
    ) -> Iterator[Encoded]:
        """Codes of any number of PNG or JPEG images, in order, all from one release.

        Args:
            images: to encode, or WAV files of a window each; read only as far ahead as requests
                are sent.
            kind: which of both.
            batch, batch_bytes: of one request at most; a larger image goes alone.
            in_flight: requests that the server has at a time.

        Raises:
            InvalidInput: with the `index` of the first image that cannot be decoded.
            ServerError: also where the release that the stream began with is no longer served.
        """
        sent: collections.deque[list[bytes]] = collections.deque()

        def requests() -> Iterator[dict[str, np.ndarray]]:
            for each in models.batches(images, batch, batch_bytes):
                sent.append(each)
                yield {ENCODED[kind]: _strings(each)}

        done = 0
        try:
            for answer in self._stream("encode", requests(), in_flight):
                done += len(sent.popleft())
                yield Encoded(answer.outputs["codes"], answer.release)
        except InvalidInput as error:
            again = functools.partial(self.encode, kind=kind)
            first = models.first_refused(again, sent[0], error)
            if first.index is not None:
                first.index += done
            raise first from error

    def decode_stream(
        self,
        codes: Iterable[np.ndarray],
        labels: Sequence[int] | np.ndarray | None = None,
        *,
        batch: int = models.BATCH,
        batch_bytes: int = models.BATCH_BYTES,
        in_flight: int = _IN_FLIGHT,
    ) -> Iterator[np.ndarray]:
        """Images uint8 [n, H, W, C] of any number of codes [h, w(, g)], in order, as above.

        `batch_bytes` bounds the images of an answer.
        """
        rows = models.RowBatches(codes, batch, batch_bytes)
        for answer in self._stream("decode", models.decoding(rows, labels), in_flight):
            rows.learn(answer.outputs)
            yield pixels_of(answer.outputs)

    def _stream(
        self, model: str, requests: Iterator[Mapping[str, Any]], in_flight: int
    ) -> Iterator[_Answer]:
        """Answers in order. The first request goes alone and finds out the release."""
        if (first := next(requests, None)) is None:
            return
        answer = self._call(model, "serving_default", first)
        yield answer
        pinned = self.at(answer.release)
        waiting: collections.deque[grpc.Future] = collections.deque()
        try:
            for request in requests:
                waiting.append(pinned._start(model, "serving_default", request))
                if len(waiting) >= in_flight:
                    yield pinned._finish(model, waiting.popleft())
            while waiting:
                yield pinned._finish(model, waiting.popleft())
        finally:
            for call in waiting:
                call.cancel()

    def _call(self, model: str, signature: str, inputs: Mapping[str, Any]) -> _Answer:
        return self._finish(model, self._start(model, signature, inputs))

    def _start(self, model: str, signature: str, inputs: Mapping[str, Any]) -> grpc.Future:
        request = predict_pb2.PredictRequest()
        self._name(model, request.model_spec)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return self._stub.Predict.future(request, timeout=self._timeout, metadata=[channel.PACKED])

    def _name(self, model: str, spec: model_pb2.ModelSpec) -> None:
        spec.name = model
        if self._version is not None:
            spec.version.value = self._version
        elif self._label:
            spec.version_label = self._label

    def _answer(self, model: str, call: grpc.Future) -> Any:
        try:
            return call.result()
        except grpc.RpcError as error:
            raise self._error(model, error.code(), error.details() or "") from error

    def _finish(self, model: str, call: grpc.Future) -> _Answer:
        response = self._answer(model, call)
        outputs = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
        return _Answer(outputs, response.model_spec.version.value)

    def _error(self, model: str, code: grpc.StatusCode, details: str) -> PipelineError:
        said = first_line(details) or code.name
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidInput(said)
        where = f"{self._target}: {model}"
        if code is grpc.StatusCode.UNAVAILABLE:
            text = (
                f"{self._target}: no server answers there ({said}); check the address, or start "
                "one with `vqvae serve`"
            )
        elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
            text = f"{where} did not answer within {self._timeout:g} s; allow it more time"
        elif code is grpc.StatusCode.NOT_FOUND and self._is_pinned:
            text = (
                f"{where} no longer serves release {self._version}, which was replaced "
                "meanwhile; run it again, from its beginning, with the release that is served now"
            )
        elif code is grpc.StatusCode.NOT_FOUND:
            text = f"{where} is not served: {said}"
        elif code is grpc.StatusCode.FAILED_PRECONDITION and '"guided"' in said:
            text = f"{where}: {models.NO_GUIDANCE}"
        elif code is grpc.StatusCode.FAILED_PRECONDITION:
            text = (
                f"{where}: {said}; the release is of an earlier vqvae, so use it from disk, or "
                "release again"
            )
        elif code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            text = f"{where}: {said}; messages may have {self._max_message_mib} MiB at this end"
        else:
            text = f"{where} failed: {code.name}: {said}"
        return ServerError(text, code)


def _strings(values: Sequence[bytes]) -> np.ndarray:
    """An array [N] of byte strings; numpy's own string type would drop their last zeros."""
    array = np.empty([len(values)], object)
    array[:] = values
    return array
