"""Beam's pool of workers: the service that an engine asks for a process to run a job in."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.utils import thread_pool_executor

import pipeline
from components.errors import PipelineError
from pipeline.engines import identity

LOGGER = logging.getLogger("vqvae.pool")
_END_SECONDS = 10.0  # that a worker has between SIGTERM and SIGKILL


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts a process for each worker that an engine asks for, if the job is of the same code.

    Args:
        scratch: folder for the workers' temporary files.
        own: what this installation is known by, see `identity.own`.
    """

    def __init__(self, scratch: Path, own: Mapping[str, str]) -> None:
        self._scratch, self._own = scratch, own
        # Two jobs on one engine may give their workers the same id.
        self._workers: defaultdict[str, list[subprocess.Popen]] = defaultdict(list)
        self._lock = threading.Lock()
        self._closed = False

    def StartWorker(
        self, request: beam_fn_api_pb2.StartWorkerRequest, context: Any
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        """Starts a worker; an error in the answer is what the engine says of the failed job."""
        if refused := identity.refusal(request.params, self._own):
            LOGGER.error("worker %s is refused: %s", request.worker_id, refused)
            return beam_fn_api_pb2.StartWorkerResponse(error=refused)
        endpoints = ("control", "logging", "artifact", "provision")
        command = [
            *(sys.executable, "-m", "pipeline.engines.worker", f"--id={request.worker_id}"),
            *(f"--{name}={getattr(request, f'{name}_endpoint').url}" for name in endpoints),
        ]
        with self._lock:
            if self._closed:
                return beam_fn_api_pb2.StartWorkerResponse(error="the pool of workers is ending")
            try:
                process = subprocess.Popen(
                    command,
                    cwd=Path(pipeline.__path__[0]).parent,  # our packages, whatever else there is
                    env={**os.environ, "TMPDIR": str(self._scratch)},
                    stdin=subprocess.PIPE,  # it ends when the pool does
                    stdout=sys.stderr.fileno(),
                )
            except OSError as error:
                return beam_fn_api_pb2.StartWorkerResponse(error=f"no worker: {error}")
            self._workers[request.worker_id].append(process)
        LOGGER.info("worker %s starts, process %d", request.worker_id, process.pid)
        threading.Thread(target=self._watch, args=(request.worker_id, process), daemon=True).start()
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(
        self, request: beam_fn_api_pb2.StopWorkerRequest, context: Any
    ) -> beam_fn_api_pb2.StopWorkerResponse:
        """Ends a worker. Of two with one id, each ends by itself when its job does."""
        with self._lock:
            found = list(self._workers[request.worker_id])
        if len(found) == 1:
            _end(found)
        return beam_fn_api_pb2.StopWorkerResponse()

    def close(self) -> None:
        """Ends all workers, and starts none any more."""
        with self._lock:
            self._closed = True
            found = [process for each in self._workers.values() for process in each]
        _end(found)

    def _watch(self, worker_id: str, process: subprocess.Popen) -> None:
        code = process.wait()
        with self._lock:
            self._workers[worker_id].remove(process)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        LOGGER.log(
            logging.INFO if code == 0 else logging.WARNING,
            "worker %s, process %d: %s",
            worker_id,
            process.pid,
            how,
        )


def serve(host: str, port: int, scratch: Path, started: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C, then ends the workers.

    Args:
        host: address to listen on.
        port: of it; 0 is any that is free.
        scratch: folder for the workers' temporary files.
        started: told the address, once it answers.

    Raises:
        PipelineError: the address or the folder cannot be used.
    """
    if not scratch.is_dir() or not os.access(scratch, os.W_OK):
        raise PipelineError(f"--scratch {scratch}: is no folder that can be written")
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    options = [
        # Two pools on one port would share the jobs without a word.
        ("grpc.so_reuseport", 0),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.max_ping_strikes", 0),
    ]
    server = grpc.server(thread_pool_executor.shared_unbounded_instance(), options=options)
    pool = WorkerPool(scratch, identity.own())
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    shown = f"[{host}]" if ":" in host else host
    try:
        bound = server.add_insecure_port(f"{shown}:{port}")
    except RuntimeError as error:
        raise PipelineError(
            f"{shown}:{port} cannot be listened on: it is in use, or not of this "
            "machine; choose another --port or --host"
        ) from error
    server.start()
    started(f"{shown}:{bound}")
    try:
        done.wait()
    finally:
        pool.close()
        server.stop(None)


def _end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
