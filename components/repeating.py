"""Something that is done again and again while other work goes on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def repeating(call: Callable[[], None], seconds: float) -> Iterator[None]:
    """Calls from a thread, every so many seconds, as long as the context lasts.

    Args:
        call: raises nothing.
        seconds: between the end of a call and the next one, and before the first.
    """
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(seconds):
            call()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
