"""Answers a prediction, whichever API it came by."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import grpc
import numpy as np

from pipeline.serving.errors import RequestError, invalid
from pipeline.serving.manager import Manager
from pipeline.serving.metrics import Metrics
from pipeline.serving.scheduler import Scheduler
from pipeline.serving.servable import Signature
from pipeline.serving.tensors import Spec

DEFAULT_SIGNATURE = "serving_default"

# A value of a request to an array, for a spec and the largest number of rows.
Decode = Callable[[Spec, Any, int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Answer:
    """Outputs of a signature, by name, and what they come from."""

    signature: Signature
    outputs: Mapping[str, np.ndarray]


class Predictor:
    """Finds the signature, checks the inputs, and has it run.

    Args:
        manager: knows what is served.
        scheduler: runs it.
        metrics: is told of every request.
        max_rows: rows of one request.
        timeout: seconds for requests that bring no deadline of their own.
    """

    def __init__(
        self,
        manager: Manager,
        scheduler: Scheduler,
        metrics: Metrics,
        max_rows: int,
        timeout: float,
    ):
        self._manager = manager
        self._scheduler = scheduler
        self._metrics = metrics
        self._max_rows = max_rows
        self._timeout = timeout

    def signature(self, model: str, version: int | None, label: str, name: str) -> Signature:
        """The signature that a request asks for.

        Raises:
            RequestError: NOT_FOUND, INVALID_ARGUMENT or FAILED_PRECONDITION.
        """
        servable = self._manager.find(model, version, label)
        found = servable.signatures.get(name or DEFAULT_SIGNATURE)
        if found is None:
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found. There are: '
                f"{', '.join(sorted(servable.signatures))}",
            )
        return found

    async def predict(
        self,
        signature: Signature,
        values: Mapping[str, Any],
        decode: Decode,
        output_filter: Iterable[str] = (),
        seconds: float | None = None,
    ) -> Answer:
        """Runs a signature on the inputs of a request.

        Args:
            signature: from `signature`.
            values: by name, as the API has them.
            decode: turns one of them into an array, or raises RequestError.
            output_filter: names of the outputs that are wanted; none for all.
            seconds: until the client's deadline, where it set one.

        Raises:
            RequestError: with the code that TensorFlow Serving gives.
        """
        deadline = asyncio.get_running_loop().time() + (
            self._timeout if seconds is None else seconds
        )
        names = _wanted_outputs(signature, list(output_filter))
        _check_names(signature, values)
        inputs = {
            name: decode(spec, values[name], self._max_rows)
            for name, spec in signature.inputs.items()
        }
        rows = {len(inputs[name]): name for name, spec in signature.inputs.items() if spec.batched}
        if signature.batchable and len(rows) > 1:
            raise invalid(f"inputs must have the same number of rows. Received: {sorted(rows)}")
        outputs = await self._scheduler.run(signature, inputs, max(rows, default=1), deadline)
        return Answer(signature, {name: outputs[name] for name in names})

    @contextlib.contextmanager
    def observed(self, api: str) -> Iterator[Callable[[Signature], None]]:
        """Measures a request; yields what to call when its signature is known.

        Only names that exist get into the metrics, which would otherwise grow with every name that
        a client makes up.
        """
        start = time.perf_counter()
        names = ["unknown", "unknown"]

        def known(signature: Signature) -> None:
            names[:] = signature.model, signature.name

        code = grpc.StatusCode.OK
        try:
            yield known
        except RequestError as error:
            code = error.code
            raise
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except BaseException:
            code = grpc.StatusCode.INTERNAL
            raise
        finally:
            self._metrics.request(api, *names, code.name, time.perf_counter() - start)


def _wanted_outputs(signature: Signature, output_filter: list[str]) -> list[str]:
    for name in output_filter:
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in "
                f"the set {{{','.join(signature.outputs)}}}."
            )
    if len(set(output_filter)) < len(output_filter):
        raise invalid("duplicate output tensor alias in output_filter")
    return output_filter or list(signature.outputs)


def _check_names(signature: Signature, values: Mapping[str, Any]) -> None:
    sent, expected = set(values), set(signature.inputs)
    if sent != expected:
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(expected)}. "
            f"Sent extra: {{{','.join(sorted(sent - expected))}}}. "
            f"Missing but required: {{{','.join(sorted(expected - sent))}}}."
        )
