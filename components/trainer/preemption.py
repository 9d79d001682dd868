"""SIGTERM: the machine is wanted back. Training checkpoints and ends."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from components.errors import PipelineError


class Preempted(PipelineError):
    """Training was told to stop, has left a checkpoint, and goes on from there when rerun."""


class Preemption:
    """Notices SIGTERM while it is entered; outside the main thread, where no signal can be
    caught, it notices nothing.

    Attributes:
        requested: SIGTERM has come.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: object = None

    def __enter__(self) -> Preemption:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._previous or signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
