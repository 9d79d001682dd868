"""What `folder.py` asks of the kind of files that it looks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.datasets.facts import Summary
from pipeline.datasets.source import Record

# Numbers that a record has beside its contents, such as height and width.
Measures = tuple[float, ...]


class Seen(NamedTuple):
    """What there is to know of a file."""

    measures: Measures | None  # None if it is left out
    content: bytes = b""  # hash
    reason: str = ""  # why it is left out
    damaged: bool = False  # of the right kind, but unusable


@dataclass(frozen=True)
class FileKind:
    """Files of one kind, as a data set has them.

    Attributes:
        name: of the data set.
        thing: what such a file is called in messages.
        look: at one file, perhaps in another thread; raises ConfigError where the user must say
            more, or cannot read it.
        record: made of a file's contents, label, measures and name below the folder.
        summary: of such records, with these names of labels.
    """

    name: str
    thing: str
    look: Callable[[Path], Seen]
    record: Callable[[bytes, int | None, Measures, bytes], Record]
    summary: Callable[[tuple[str, ...] | None], Summary[Any]]
