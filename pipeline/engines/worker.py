"""`python -m pipeline.engines.worker`: one worker process, started by the pool for a job.

Beam's own way from the pool to its worker is a program of its container image, which installs
packages first; Beam's pool without it drops the pipeline options. This one asks the runner for
them, as that program does, and installs nothing. It ends when the runner closes the connection or
is gone, and when the pool is gone: the pool holds the other end of standard input.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from typing import NoReturn

LOGGER = logging.getLogger("vqvae.worker")
_JOB_NAME = "beam:option:job_name:v1"
_ANSWER_SECONDS = 60.0  # for the runner to say what the worker needs to know


def main() -> None:
    """Runs the work of one job until there is no more."""
    parser = argparse.ArgumentParser()
    for name in ("id", "control", "logging", "artifact", "provision"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    threading.Thread(target=_end_with_the_pool, daemon=True).start()
    # Beam tells the runner all of it; here is what concerns whoever keeps the pool.
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {given.id} %(message)s"))
    handler.addFilter(lambda record: record.levelno >= logging.ERROR or record.name == LOGGER.name)
    logging.getLogger().addHandler(handler)
    LOGGER.setLevel(logging.INFO)

    os.environ.update(_environment(given))
    job = json.loads(os.environ["PIPELINE_OPTIONS"]).get(_JOB_NAME, "a job without a name")
    from apache_beam.runners.worker import sdk_worker_main

    logs, harness, _ = sdk_worker_main.create_harness(os.environ)
    bundles = _Bundles(harness)

    def end(code: int) -> NoReturn:
        # SIGTERM may come while this thread or another is logging: no lock may be waited for here,
        # and what is said is not said twice.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        text, counted = "ends after %d bundles of %s", (bundles.count, job)
        record = LOGGER.makeRecord(LOGGER.name, logging.INFO, __file__, 0, text, counted, None)
        os.write(sys.stderr.fileno(), f"{handler.format(record)}\n".encode())
        # Threads that still compute for a job that nobody waits for must not keep the process.
        os._exit(code)

    # The pool's, when the job has ended or was cancelled.
    signal.signal(signal.SIGTERM, lambda *_: end(0))
    try:
        harness.run()
    except Exception as error:  # the runner is gone, or the worker is out of order
        LOGGER.warning("lost its runner: %s", " ".join(str(error).split())[:300])
        end(1)
    if logs is not None:
        logs.close()
    end(0)


class _Bundles:
    """Counts the bundles that a worker is given."""

    def __init__(self, harness) -> None:
        self.count = 0
        self._run = harness._request_process_bundle
        harness._request_process_bundle = self._counted

    def _counted(self, request) -> None:
        self.count += 1
        self._run(request)


def _environment(given: argparse.Namespace) -> dict[str, str]:
    """What Beam's worker reads from its environment."""
    import grpc
    from apache_beam.portability.api import (
        beam_provision_api_pb2,
        beam_provision_api_pb2_grpc,
        endpoints_pb2,
    )
    from google.protobuf import json_format, text_format

    channel = grpc.insecure_channel(given.provision)
    stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
    request = beam_provision_api_pb2.GetProvisionInfoRequest()
    metadata = (("worker_id", given.id),)
    with channel:
        info = stub.GetProvisionInfo(request, timeout=_ANSWER_SECONDS, metadata=metadata).info
    if info.dependencies:
        LOGGER.warning("the job brings packages, which are not installed: the worker has its own")

    def service(descriptor, url: str) -> str:
        chosen = descriptor if descriptor.url else endpoints_pb2.ApiServiceDescriptor(url=url)
        return text_format.MessageToString(chosen)

    environment = {
        "WORKER_ID": given.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "CONTROL_API_SERVICE_DESCRIPTOR": service(info.control_endpoint, given.control),
        "LOGGING_API_SERVICE_DESCRIPTOR": service(info.logging_endpoint, given.logging),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    if info.status_endpoint.url:
        environment["STATUS_API_SERVICE_DESCRIPTOR"] = service(info.status_endpoint, "")
    return environment


def _end_with_the_pool() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main()
