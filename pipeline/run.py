"""`vqvae run`: configuration and data in, the pipeline, and what came of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from rich.console import Console

from components.errors import PipelineError
from pipeline import config as configuration
from pipeline.config import Config, ConfigError
from pipeline.display import RunDisplay, show_components, show_verdict
from pipeline.log_file import libraries_to
from pipeline.root import Root

RELEASED, NOT_BLESSED = 0, 3
# The data set that the package carries, made when a run names no other.
EMBEDDED = "digits"


def run_and_show(
    source: str,
    data: Path | None,
    root: Path | None,
    overrides: tuple[str, ...],
    verbose: bool,
) -> int:
    """Runs the pipeline and prints its course and outcome; returns the exit status.

    Raises:
        ConfigError: the configuration or the data cannot be used.
        Exception: what the component that failed raised.
    """
    config = configuration.load(source, overrides)
    root = Root((root or Path("runs") / config.name).absolute())
    data = data or (Path(config.data.path) if config.data.path else None)
    if data is None and config.name != EMBEDDED:
        raise ConfigError(
            f"no data for {config.name!r}: give --data DIR or set data.path; `vqvae data --help` "
            "lists the data sets it can make"
        )
    if data is not None and not data.is_dir() and "{SPAN}" not in str(data):
        raise ConfigError(f"--data {data}: no such directory")
    with _screen(root.log, verbose) as console:
        return _run(config, data or _embedded(root), root, console)


@contextlib.contextmanager
def _screen(log: Path, verbose: bool) -> Iterator[Console]:
    if verbose:
        yield _console()
        return
    with libraries_to(log) as screen:
        console = _console(screen)
        try:
            yield console
        except Exception:
            console.print(f"[dim]the full log is {log}[/]", highlight=False)
            raise


def _console(file: TextIO | None = None) -> Console:
    console = Console(file=file)
    if not console.is_terminal:
        console.width = 120  # a log has no edge at which to fold
    return console


def _embedded(root: Root) -> Path:
    from pipeline.datasets.writer import write_dataset

    write_dataset(EMBEDDED, root.data)
    return root.data


def _run(config: Config, data: Path, root: Root, console: Console) -> int:
    console.print(f"[bold]{config.name}[/]: {data} → {root.path}", highlight=False)
    # Imported here, with the terminal out of its reach: TFX takes its time and says a lot.
    from components.evaluator import results
    from components.trainer.progress import LOGGER
    from pipeline import local

    display = RunDisplay(console)
    LOGGER.addHandler(display)
    try:
        components = local.run_pipeline(config, local.plan(config, str(data), root), root, display)
    finally:
        display.close_live()
        LOGGER.removeHandler(display)
    show_components(console, components, root.path)
    outputs = {component.name: component.outputs for component in components}
    evaluation = results.read(outputs["Evaluator"]["evaluation"])
    show_verdict(console, evaluation)
    return _outcome(console, evaluation, Path(outputs["Pusher"]["pushed_model"]))


def _outcome(console: Console, evaluation, pushed: Path) -> int:
    console.print()
    manifest = pushed / "release.json"
    if not evaluation.blessed:
        failed = ", ".join(dict.fromkeys(c.metric for c in evaluation.checks if not c.ok))
        console.print(f"[red]not released[/]: the gate refused it ({failed})", highlight=False)
        return NOT_BLESSED
    if not manifest.is_file():
        raise PipelineError(f"the candidate was blessed but {manifest} is missing")
    version = json.loads(manifest.read_text(encoding="utf-8"))["version"]
    console.print(f"[green]released[/] version {version}", highlight=False)
    return RELEASED
