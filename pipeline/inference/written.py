"""What a command says at its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipeline.inference.found_files import LeftOut


@dataclasses.dataclass(frozen=True)
class Written:
    """What became of a command.

    Attributes:
        count: images or recordings.
        thing: which of both.
        left_out: files of folders that are of no use.
        note: what there is to say about the release that was used; may be empty.
    """

    count: int
    thing: str
    left_out: Sequence[LeftOut] = ()
    note: str = ""
