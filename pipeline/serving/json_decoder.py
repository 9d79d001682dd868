"""Decodes JSON bodies without keeping the event loop waiting.

Parsing JSON and making arrays of it needs the interpreter's lock all the time: for 16 MiB of
pixels seconds, in which no other thread and no event loop of the process would run. So large
bodies are decoded in processes of their own.
"""

from __future__ import annotations

import asyncio
import pickle
import queue
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from pipeline.serving.errors import RequestError, invalid
from pipeline.serving.json_tensors import Decoded, decode
from pipeline.serving.off_loop import LARGE
from pipeline.serving.spec import Specs


class JsonDecoder:
    """Decodes small bodies at once, and as many large ones at a time as it has processes.

    Args:
        processes: each is started when it is first needed.
        max_rows: of one request.
    """

    def __init__(self, processes: int, max_rows: int):
        self._max_rows = max_rows
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="json")
        self._workers: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all = [_Worker() for _ in range(processes)]
        for worker in self._all:
            self._workers.put(worker)

    async def decode(
        self, body: bytes, signatures: Mapping[str, Specs], deadline: float
    ) -> Decoded:
        """What a body says.

        Args:
            body: JSON.
            signatures: what each signature of the model takes.
            deadline: time of the event loop after which the answer is of no use.

        Raises:
            RequestError: INVALID_ARGUMENT, DEADLINE_EXCEEDED, or UNAVAILABLE where the process
                came to its end.
        """
        if len(body) <= LARGE:
            return decode(body, signatures, self._max_rows)
        loop = asyncio.get_running_loop()
        question = body, dict(signatures), self._max_rows
        try:
            async with asyncio.timeout_at(deadline):
                answer = await loop.run_in_executor(self._threads, self._ask, question)
        except TimeoutError as error:
            raise RequestError(
                grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the body was decoded"
            ) from error
        if isinstance(answer, str):
            raise invalid(answer)
        return answer

    def close(self) -> None:
        """Ends the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._all:
            worker.end()

    def _ask(self, question: Any) -> Decoded | str:
        worker = self._workers.get()
        try:
            return worker.ask(question)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            worker.end()
            raise RequestError(
                grpc.StatusCode.UNAVAILABLE,
                "the process that decoded the request ended before it was done; try again",
            ) from error
        finally:
            self._workers.put(worker)


class _Worker:
    """A `json_worker` process; it ends with this one, however that ends."""

    def __init__(self):
        self._process: subprocess.Popen | None = None

    def ask(self, question: Any) -> Decoded | str:
        """The answer, or the message of an error; raises if the process ends meanwhile."""
        if self._process is None:
            # The same modules as here, whatever the working directory holds.
            program = (
                f"import sys; sys.path[:] = {sys.path!r}; "
                "from pipeline.serving.json_worker import main; main()"
            )
            self._process = subprocess.Popen(
                [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        process = self._process
        # Pipes, as it was started.
        assert process.stdin is not None
        assert process.stdout is not None
        pickle.dump(question, process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
        return pickle.load(process.stdout)

    def end(self) -> None:
        """Ends the process; the next question starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
