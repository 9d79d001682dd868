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
    terminal, errors = os.dup(1), os.dup(2)
    with (
        open(path, "w", encoding="utf-8", errors="surrogateescape") as log,
        os.fdopen(
            os.dup(terminal), "w", encoding="utf-8", errors="surrogateescape", buffering=1
        ) as screen,
    ):
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(logging.INFO)
        try:
            yield screen
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            logging.getLogger().removeHandler(handler)
            os.dup2(terminal, 1)
            os.dup2(errors, 2)
            os.close(terminal)
            os.close(errors)
