"""A progress bar where there is a terminal to show it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ProgressBar:
    """Shows how far each stage of the work is; nothing where `stream` is no terminal.

    Args:
        stream: standard error if left out.
        every: updates that are passed over between two that are shown, as a call for every
            image would cost more than the image.
    """

    def __init__(self, stream: TextIO | None = None, every: int = 100):
        self._stream, self._every = stream or sys.stderr, every
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._stage: str | None = None

    def __enter__(self) -> ProgressBar:
        if self._stream.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
            from rich.progress import TimeRemainingColumn as Remaining

            from pipeline.commands.console import console_on

            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                Remaining(),
                console=console_on(self._stream),
                transient=True,
            )
            self._progress.start()
        return self

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Tells how much is done of a stage, and of how much (None: unknown)."""
        if self._progress is None:
            return
        if self._task is None or stage != self._stage:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._stage, self._task = stage, self._progress.add_task(stage, total=total)
        if done % self._every == 0 or done == total:
            self._progress.update(self._task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
