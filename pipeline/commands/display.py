"""What a run looks like in a terminal."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.status import Status

    from components.evaluator.results import Check, Evaluation
    from components.trainer.progress import Progress
    from pipeline.local.runner import ComponentRun

_MARKS = {"ran": ("✔", "green"), "cached": ("✔", "cyan"), "failed": ("✘", "red")}
# Seconds between two lines of training progress where there is no terminal to redraw.
_LINE_EVERY = 10.0


class RunDisplay(logging.Handler):
    """One line as each component starts and ends, and a live line while it trains.

    It is the observer of `run_pipeline`, and the handler of the training's log records.
    """

    def __init__(self, console: Console):
        super().__init__(logging.INFO)
        self._console = console
        self._status: Status | None = None
        self._last_line = 0.0

    def __call__(self, component: ComponentRun) -> None:
        if component.state == "running":
            self._start(component.name)
        else:
            self._end(component)

    def _start(self, name: str) -> None:
        if self._console.is_terminal:
            self._status = self._console.status(Text(name), spinner="dots")
            self._status.start()
        else:
            self._console.print(f"· {name} starts")

    def _end(self, component: ComponentRun) -> None:
        self.close_live()
        self._console.print(
            Text.assemble(
                _MARKS[component.state],
                f" {component.name:<17} {component.state:<7}{component.seconds:7.1f} s",
            )
        )

    def emit(self, record: logging.LogRecord) -> None:
        progress: Progress | None = getattr(record, "progress", None)
        if record.levelno >= logging.WARNING:
            self._console.print(f"  {record.getMessage()}", style="yellow")
            return
        if self._status is not None:
            self._status.update(Text(record.getMessage()))
            return
        now = time.monotonic()
        last = progress is not None and progress.step == progress.steps
        if progress is None or last or now - self._last_line > _LINE_EVERY:
            self._last_line = now
            self._console.print(f"  {record.getMessage()}")

    def close_live(self) -> None:
        """Ends the live line."""
        if self._status is not None:
            self._status.stop()
            self._status = None


def show_components(console: Console, components: list[ComponentRun], root: Path) -> None:
    """Table of components: state, seconds, and the output below the run root."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("component")
    table.add_column("state")
    table.add_column("seconds", justify="right")
    table.add_column("output", overflow="fold")
    for component in components:
        outputs = sorted(component.outputs.values())
        table.add_row(
            component.name,
            component.state,
            f"{component.seconds:.1f}",
            outputs[0].removeprefix(f"{root}/") if outputs else "",
        )
    console.print()
    console.print(table)


def show_verdict(console: Console, evaluation: Evaluation) -> None:
    """The gate: every metric, its threshold and the baseline's value."""
    # Here, since it imports TFMA.
    from components.evaluator.results import describe_check, format_number

    table = Table(box=None, pad_edge=False, header_style="bold")
    columns: tuple[tuple[str, JustifyMethod], ...] = (
        ("metric", "left"),
        ("held-out", "right"),
        ("last release", "right"),
        ("threshold", "left"),
        ("", "left"),
    )
    for name, justify in columns:
        table.add_column(name, justify=justify)
    checks: dict[str, list[Check]] = {}
    for check in evaluation.checks:
        checks.setdefault(check.metric, []).append(check)
    for metric, value in evaluation.metrics.items():
        baseline = (evaluation.baseline or {}).get(metric)
        rules = checks.get(metric, [])
        table.add_row(
            metric,
            format_number(value),
            "–" if baseline is None else format_number(baseline),
            ", ".join(describe_check(check) for check in rules),
            Text(" ").join(Text(*_MARKS["ran" if check.ok else "failed"]) for check in rules),
        )
    console.print()
    console.print(table)
    for check in evaluation.checks:
        if check.note:
            console.print(f"{check.metric}: {check.note}", style="dim")
