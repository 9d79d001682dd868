"""Which part of the whole batch a replica holds."""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """Part `number`, from 0, of `of` equally large ones, in the order of the batch's rows.

    The networks are told it, so that what they draw at random is drawn for the whole batch, or
    differs from part to part, without knowing how the parts are spread over devices.
    """

    number: int = 0
    of: int = 1


WHOLE = Part()
