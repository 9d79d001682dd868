"""Keeps the terminal for what the user wants to see: libraries write to a file."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def libraries_to(path: Path) -> Iterator[TextIO]:
    """Sends this process's output to a file, that of C++ code and of child processes included.

    Args:
        path: file, written anew.

    Yields:
        the terminal, or whatever standard output was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with (
        _log(path) as log,
        os.fdopen(
            os.dup(1), "w", encoding="utf-8", errors="surrogateescape", buffering=1
        ) as screen,
        _output_to(log),
        _records_to(log),
    ):
        yield screen


@contextlib.contextmanager
def _log(path: Path) -> Iterator[TextIO]:
    """A log that ends early, since its disk is full, is said to and fails nothing."""
    log = open(path, "w", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    try:
        yield log
    finally:
        try:
            log.close()
        except OSError as error:
            print(f"the log {path} is not whole ({error.strerror or error})", file=sys.stderr)


@contextlib.contextmanager
def _output_to(file: TextIO) -> Iterator[None]:
    terminal, errors = os.dup(1), os.dup(2)
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        for stream, descriptor, before in ((sys.stdout, 1, terminal), (sys.stderr, 2, errors)):
            _flush(stream, descriptor)
            os.dup2(before, descriptor)
            os.close(before)


def _flush(stream: TextIO, descriptor: int) -> None:
    """Writes what waits in a stream; what cannot be written is dropped, not kept for later."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
        stream.flush()


@contextlib.contextmanager
def _records_to(file: TextIO) -> Iterator[None]:
    handler = logging.StreamHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
