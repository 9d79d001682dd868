"""Runs signatures on a few threads, the rows of requests that wait for the same one together.

Nothing waits for company: a request that finds a free thread runs alone. While all threads are
busy requests gather, and the next free thread takes as many rows as it may at once. So batches
grow with the load, and an idle server answers without delay.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import tensorflow as tf

from pipeline.inference import errors
from pipeline.serving.errors import RequestError, invalid
from pipeline.serving.metrics import Metrics
from pipeline.serving.servable import Signature
from pipeline.serving.spec import Arrays

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class _Task:
    """A request, or a part of a large one, that waits for its turn."""

    inputs: Arrays
    rows: int
    deadline: float  # of the event loop's clock
    result: asyncio.Future


class Scheduler:
    """Decides what runs next: signatures take turns, and their requests in order of arrival.

    Args:
        threads: how many batches run at the same time.
        max_batch: rows of a batch; larger requests run in parts. 0 never joins requests.
        max_waiting: requests that may wait; further ones are refused.
        max_waiting_bytes: of their inputs.
        metrics: is told of every batch.
    """

    def __init__(
        self,
        threads: int,
        max_batch: int,
        max_waiting: int,
        max_waiting_bytes: int,
        metrics: Metrics,
    ):
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="model")
        self._free = threads
        self._joins = max_batch > 0
        self._max_batch = max_batch or 64
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._metrics = metrics
        self._queues: dict[Signature, collections.deque[_Task]] = {}
        self._running: set[asyncio.Task] = set()
        self._waiting, self._waiting_bytes = 0, 0

    async def run(
        self, signature: Signature, inputs: Arrays, rows: int, deadline: float
    ) -> dict[str, np.ndarray]:
        """Computes the outputs of a signature.

        Args:
            signature: what to run.
            inputs: one array for each of its inputs.
            rows: how many images these are.
            deadline: time of the event loop after which the answer is of no use.

        Raises:
            RequestError: UNAVAILABLE where too much waits already, DEADLINE_EXCEEDED,
                INVALID_ARGUMENT with what the model says of its input.
        """
        size = sum(_bytes(array) for array in inputs.values())
        if (
            self._waiting >= self._max_waiting
            or self._waiting_bytes + size > self._max_waiting_bytes
        ):
            raise RequestError(
                grpc.StatusCode.UNAVAILABLE, "the server has too many requests to do; try again"
            )
        self._waiting += 1
        self._waiting_bytes += size
        tasks = self._enqueue(signature, inputs, rows, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                parts = [await task.result for task in tasks]
        except TimeoutError as error:
            raise RequestError(
                grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the answer was there"
            ) from error
        finally:
            self._waiting -= 1
            self._waiting_bytes -= size
            for task in tasks:
                # Where a part failed, or the client went away: the others are not needed.
                if not task.result.cancel() and not task.result.cancelled():
                    task.result.exception()
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    async def close(self) -> None:
        """Waits until what runs has ended."""
        while self._running:
            await asyncio.wait(self._running)
        self._pool.shutdown()

    def _enqueue(
        self, signature: Signature, inputs: Arrays, rows: int, deadline: float
    ) -> list[_Task]:
        loop = asyncio.get_running_loop()
        step = self._max_batch if signature.batchable and rows > self._max_batch else max(rows, 1)
        tasks = []
        for start in range(0, max(rows, 1), step):
            part = inputs
            if step < rows:
                part = {name: array[start : start + step] for name, array in inputs.items()}
            count = min(step, rows - start)
            tasks.append(_Task(part, count, deadline, loop.create_future()))
        self._queues.setdefault(signature, collections.deque()).extend(tasks)
        self._dispatch()
        return tasks

    def _dispatch(self) -> None:
        while self._free and self._queues:
            signature = next(iter(self._queues))
            queue = self._queues.pop(signature)
            batch = self._take(signature, queue)
            if queue:
                self._queues[signature] = queue  # behind the others
            if batch:
                self._free -= 1
                running = asyncio.get_running_loop().create_task(self._execute(signature, batch))
                self._running.add(running)
                running.add_done_callback(self._running.discard)

    def _take(self, signature: Signature, queue: collections.deque[_Task]) -> list[_Task]:
        """Takes the tasks of the next batch; what nobody waits for any more is dropped."""
        now = asyncio.get_running_loop().time()
        batch: list[_Task] = []
        rows = 0
        while queue:
            task = queue[0]
            if task.result.done() or task.deadline <= now:
                queue.popleft()
                continue
            if batch and (rows + task.rows > self._max_batch or not self._joined(signature)):
                break
            batch.append(queue.popleft())
            rows += task.rows
        return batch

    def _joined(self, signature: Signature) -> bool:
        return self._joins and signature.batchable

    async def _execute(self, signature: Signature, batch: list[_Task]) -> None:
        loop = asyncio.get_running_loop()
        self._metrics.batch(signature, sum(task.rows for task in batch), len(batch))
        results: Sequence[dict[str, np.ndarray] | BaseException]
        try:
            results = await loop.run_in_executor(self._pool, _compute, signature, batch)
        except BaseException as error:  # the pool itself
            results = [error] * len(batch)
        finally:
            self._free += 1
        for task, result in zip(batch, results, strict=True):
            if task.result.done():
                continue
            if isinstance(result, BaseException):
                task.result.set_exception(result)
            else:
                task.result.set_result(result)
        with contextlib.suppress(RuntimeError):  # the loop is closing
            self._dispatch()


def _compute(signature: Signature, batch: list[_Task]) -> list[dict[str, np.ndarray] | Exception]:
    """Results in the order of the batch. One request's mistake is not another's."""
    if len(batch) == 1:
        return [_attempt(signature, batch[0].inputs)]
    joined = {
        name: np.concatenate([task.inputs[name] for task in batch]) for name in signature.inputs
    }
    outputs = _attempt(signature, joined)
    if isinstance(outputs, Exception):
        return [_attempt(signature, task.inputs) for task in batch]
    ends = np.cumsum([task.rows for task in batch])
    return [
        {name: array[end - task.rows : end] for name, array in outputs.items()}
        for task, end in zip(batch, ends, strict=True)
    ]


def _attempt(signature: Signature, inputs: Arrays) -> dict[str, np.ndarray] | RequestError:
    where = f"{signature.model} {signature.version}, {signature.name}"
    try:
        return signature(inputs)
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:
        return invalid(errors.message(error))
    except tf.errors.ResourceExhaustedError as error:
        _LOG.warning("%s: out of memory", where)
        return RequestError(grpc.StatusCode.RESOURCE_EXHAUSTED, errors.message(error))
    except Exception:
        _LOG.exception("%s failed", where)
        return RequestError(grpc.StatusCode.INTERNAL, "the model failed; the server's log says why")


def _bytes(array: np.ndarray) -> int:
    """What an array keeps in memory, the strings that it refers to included."""
    return sum(map(len, array.flat)) if array.dtype == object else array.nbytes
