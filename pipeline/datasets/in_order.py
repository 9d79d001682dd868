"""Work on many things at a time, with the results in the order of the things."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")

WORKERS = min(max(len(os.sched_getaffinity(0)), 2), 16)
_AHEAD = 8  # per worker, so that one that takes long does not stop the others


def in_order(
    work: Callable[[Thing], Result], things: Iterable[Thing]
) -> Iterator[tuple[Thing, Result]]:
    """Each thing and what `work` makes of it, by threads; a bounded number at a time.

    Raises:
        Exception: what `work` raised, when its thing would be next.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        started: deque[tuple[Thing, Future[Result]]] = deque()
        try:
            for thing in things:
                started.append((thing, pool.submit(work, thing)))
                if len(started) > WORKERS * _AHEAD:
                    thing, future = started.popleft()
                    yield thing, future.result()
            for thing, future in started:
                yield thing, future.result()
        finally:
            pool.shutdown(cancel_futures=True)
