"""SIGTERM: the machine is wanted back. Training checkpoints and ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from components.errors import PipelineError


class Preempted(PipelineError):
    """Training was told to stop, has left a checkpoint, and goes on from there when rerun."""


class Preemption:
    """Notices SIGTERM while it is entered, at once, also while the main thread is in a call of
    TensorFlow that lasts; outside the main thread, where no signal can be caught, it notices
    nothing.

    Args:
        notify: called, from a thread of its own.

    Attributes:
        requested: SIGTERM has come.
    """

    def __init__(self, notify: Callable[[], None] = lambda: None) -> None:
        self.requested = False
        self._notify = notify
        self._previous: Callable[[int, FrameType | None], object] | int | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Preemption:
        if threading.current_thread() is threading.main_thread():
            # Python's own handlers wait until the main thread runs Python again; the byte that
            # the interpreter writes for every signal does not.
            self._read, self._write = os.pipe()
            os.set_blocking(self._write, False)
            self._previous_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            self._previous = signal.signal(signal.SIGTERM, self._note)
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._thread is not None:
            signal.signal(signal.SIGTERM, self._previous or signal.SIG_DFL)
            signal.set_wakeup_fd(self._previous_fd)
            os.close(self._write)  # ends the thread
            self._thread.join()
            os.close(self._read)
            self._thread = None

    def _watch(self) -> None:
        while received := os.read(self._read, 64):
            if signal.SIGTERM in received:
                self.requested = True
                self._notify()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
