"""Work that would keep the event loop from answering others goes to another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

# Bytes of an array or a body whose conversion takes longer than a switch of threads: milliseconds.
LARGE = 1 << 16


async def away_if(long: bool, work: Callable[[], _T]) -> _T:
    """What `work` returns; it runs here, or on another thread if it takes long."""
    return await asyncio.to_thread(work) if long else work()
