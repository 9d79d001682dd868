"""One job of Beam: named and signed when it is submitted, cancelled when the run ends before it."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import secrets
import signal
import threading
from collections.abc import Iterator, Sequence

from components.errors import after
from components.trainer.preemption import Preempted
from pipeline.engines import failure, identity
from pipeline.engines.preflight import engine_of

LOGGER = logging.getLogger("vqvae.engine")
_POOL = "--environment_config="


@contextlib.contextmanager
def submitted(arguments: Sequence[str], name: str) -> Iterator[list[str]]:
    """For what runs jobs of Beam: yields the arguments to run them with.

    For an engine they get a job name that no other run has, and what the workers must have
    installed. If the block fails, or SIGTERM comes, the jobs of that name are cancelled.

    Args:
        arguments: of `pipeline.engines.arguments`.
        name: of the component, or of the command.

    Raises:
        PipelineError: what a worker said, or why the engine cannot take the job.
        Preempted: SIGTERM has come.
    """
    engine = engine_of(arguments)
    if engine is None:
        with failure.explained(name):
            yield list(arguments)
        return
    job_name = re.sub(r"[^a-z0-9]+", "-", f"vqvae-{name}-{secrets.token_hex(4)}".lower())
    signed = [_signed(argument) for argument in arguments]
    try:
        with failure.explained(name), _sigterm_is_an_error(name):
            yield [*signed, f"--job_name={job_name}"]
    except BaseException as error:
        with after(error, f"job {job_name} may still run"):
            if engine.cancel(job_name):
                LOGGER.warning("%s: cancelled its job %s", name, job_name)
        raise


@contextlib.contextmanager
def _sigterm_is_an_error(name: str) -> Iterator[None]:
    """In the main thread, where alone signals come; elsewhere it does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopped = Preempted(f"{name}: stopped by SIGTERM; run it again to complete it")
    come = False

    def stop(number: int, frame: object) -> None:
        nonlocal come
        come = True
        raise stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except Exception as error:
        if come and error is not stopped:  # Beam has made another of it
            raise stopped from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if come:  # Beam has gone on
        raise stopped


def _signed(argument: str) -> str:
    """The address of the workers with what they must have installed, which the pool compares."""
    if not argument.startswith(_POOL) or argument.startswith(_POOL + "{"):
        return argument
    return _POOL + json.dumps({"url": argument.removeprefix(_POOL), "params": identity.own()})
