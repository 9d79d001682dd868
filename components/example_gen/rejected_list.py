"""The list of rejected records, kept where it outlives the artifact of a run that it stopped."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from tfx.dsl.io import fileio

from components import durable_files

# Where a task leaves nothing but its log, these are all that there is to see.
LOGGED = 100


def keep(rejected_uri: str, path: str) -> str:
    """Writes the lists of all input files as one, and the first of its lines to the log.

    Args:
        rejected_uri: folder of the lists, `records-*.jsonl`.
        path: file to write, replaced or, without rejected records, removed; empty: only the log.

    Returns:
        where the records are listed, for a message; empty if there are none.
    """
    count = 0
    for count, line in enumerate(_lines(rejected_uri), start=1):
        if count <= LOGGED:
            logging.warning("left out: %s", line.rstrip())
    if count > LOGGED:
        logging.warning("left out: %d more", count - LOGGED)
    logged = f"the first {LOGGED} are in the log" if count > LOGGED else "all are in the log"
    if not path:
        return logged if count else ""
    try:
        _write(path, rejected_uri, bool(count))
    except OSError as error:  # which must not hide why the list is wanted
        logging.warning("%s: the list of rejected records cannot be kept: %s", path, error)
        return logged if count else ""
    return f"all are listed in {path}" if count else ""


def _write(path: str, rejected_uri: str, any_rejected: bool) -> None:
    if not any_rejected:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with (
        durable_files.appearing(Path(path)) as unfinished,
        unfinished.open("w", encoding="utf-8") as file,
    ):
        file.writelines(_lines(rejected_uri))


def _lines(rejected_uri: str) -> Iterator[str]:
    for name in sorted(fileio.listdir(rejected_uri)):
        if name.startswith("records-"):
            with fileio.open(os.path.join(rejected_uri, name)) as file:
                yield from file
