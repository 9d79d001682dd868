"""Answers a prediction, whichever API it came by."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator

import grpc
import numpy as np

from pipeline.serving.errors import RequestError, invalid
from pipeline.serving.json_tensors import DEFAULT_SIGNATURE
from pipeline.serving.manager import Manager
from pipeline.serving.metrics import Metrics
from pipeline.serving.scheduler import Scheduler
from pipeline.serving.servable import Servable, Signature
from pipeline.serving.spec import Arrays


class Predictor:
    """Finds the signature and has it run.

    Args:
        manager: knows what is served.
        scheduler: runs it.
        metrics: is told of every request.
        max_rows: rows of one request.
        timeout: seconds for requests that bring no deadline of their own.

    Attributes:
        max_rows: as above.
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
        self.max_rows = max_rows
        self._timeout = timeout

    def deadline(self, seconds: float | None = None) -> float:
        """Time of the event loop at which a request is late.

        Args:
            seconds: that the client gives it; None where it does not say.
        """
        seconds = self._timeout if seconds is None else seconds
        return asyncio.get_running_loop().time() + seconds

    async def servable(
        self, model: str, version: int | None, label: str, deadline: float
    ) -> Servable:
        """The servable that a request asks for; waits for it while the server starts.

        Raises:
            RequestError: NOT_FOUND, INVALID_ARGUMENT or DEADLINE_EXCEEDED.
        """
        if self._manager.is_starting(model):
            try:
                async with asyncio.timeout_at(deadline):
                    await self._manager.started(model)
            except TimeoutError as error:
                raise RequestError(
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    f"the deadline passed while {model} was being loaded",
                ) from error
        return self._manager.find(model, version, label)

    def signature(self, servable: Servable, name: str) -> Signature:
        """The signature that a request asks for.

        Raises:
            RequestError: FAILED_PRECONDITION.
        """
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
        inputs: Arrays,
        deadline: float,
        output_filter: Iterable[str] = (),
    ) -> dict[str, np.ndarray]:
        """Runs a signature on the inputs of a request; gives the outputs by name.

        Args:
            signature: from `signature`.
            inputs: an array for each of its inputs, of the type and shape that it has.
            deadline: from `deadline`.
            output_filter: names of the outputs that are wanted; none for all.

        Raises:
            RequestError: with the code that TensorFlow Serving gives.
        """
        names = _wanted_outputs(signature, list(output_filter))
        rows = {len(inputs[name]): name for name, spec in signature.inputs.items() if spec.batched}
        if signature.batchable and len(rows) > 1:
            raise invalid(f"inputs must have the same number of rows. Received: {sorted(rows)}")
        outputs = await self._scheduler.run(signature, inputs, max(rows, default=1), deadline)
        return {name: outputs[name] for name in names}

    @contextlib.contextmanager
    def observed(self, api: str) -> Iterator[Callable[[Signature], None]]:
        """Measures a request; yields what to call when its signature is known.

        Only names that exist get into the metrics, which would otherwise grow with every name that
        a client makes up.
        """
        start = time.perf_counter()
        model, name = "unknown", "unknown"

        def known(signature: Signature) -> None:
            nonlocal model, name
            model, name = signature.model, signature.name

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
            self._metrics.request(api, model, name, code.name, time.perf_counter() - start)


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
