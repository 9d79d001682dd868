"""Looks at something all the time while a test goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_Found = TypeVar("_Found")


class Watch(threading.Thread, Generic[_Found]):
    """Looks until the context is left, which raises what a look raised.

    Args:
        look: returns what it finds, or raises.

    Attributes:
        looks: how many there were.
        seen: what was found, each time that it had changed.
    """

    def __init__(self, look: Callable[[], _Found]):
        super().__init__()
        self.looks = 0
        self.seen: list[_Found] = []
        self._look = look
        self._error: BaseException | None = None
        self._stopped = threading.Event()

    def run(self) -> None:
        try:
            while not self._stopped.wait(0.01):
                found = self._look()
                if not self.seen or self.seen[-1] != found:
                    self.seen.append(found)
                self.looks += 1
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Watch[_Found]:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()
        if self._error is not None:
            raise self._error
        assert self.looks > 0
