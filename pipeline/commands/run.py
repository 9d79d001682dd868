"""`vqvae run`: configuration and data in, the pipeline, and what came of it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.text import Text

from components.errors import PipelineError, after, finally_do
from components.example_gen import spans
from pipeline import component_ids as ids
from pipeline.commands.console import console_on
from pipeline.commands.display import RunDisplay, show_components, show_verdict
from pipeline.commands.exit_status import NOT_BLESSED, RELEASED
from pipeline.commands.log_file import libraries_to
from pipeline.commands.options import config_option, overrides_option
from pipeline.config import config as configuration
from pipeline.config.config import Config, ConfigError
from pipeline.local import run_lock
from pipeline.local.root import Root
from pipeline.user_path import UserPath

if TYPE_CHECKING:
    from components.evaluator.results import Evaluation
    from components.release_store.rollout import Served

# The data set that the package carries, made when a run names no other.
EMBEDDED = "digits"


@click.command()
@config_option
@click.option("--data", "data_path", type=UserPath(path_type=Path), help="Image TFRecords.")
@click.option("--root", type=UserPath(path_type=Path), help="Run root.  [default: runs/NAME]")
@overrides_option
@click.option("--verbose", is_flag=True, help="Show the logs of TensorFlow, Beam and TFX.")
def run(
    config: str,
    data_path: Path | None,
    root: Path | None,
    overrides: tuple[str, ...],
    verbose: bool,
) -> None:
    """Runs the whole pipeline on this machine, from TFRecords to a release.

    Exit status: 0 released, 3 finished but refused by the gate, 2 bad usage or configuration,
    75 stopped by SIGTERM while training, after a checkpoint, 1 failed.
    """
    sys.exit(run_and_show(config, data_path, root, overrides, verbose))


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
    place = Root((root or Path("runs") / config.name).absolute())
    data = data or (Path(config.data.path) if config.data.path else None)
    if data is None and config.name != EMBEDDED:
        raise ConfigError(
            f"no data for {config.name!r}: give --data DIR or set data.path; `vqvae data --help` "
            "lists the data sets it can make"
        )
    if data is not None and not os.path.isdir(spans.split_at_placeholder(str(data))[0]):
        raise ConfigError(f"--data {data}: no such directory")
    with run_lock.held(place.lock), screen(place.log, verbose) as console:
        return _run(config, data or _embedded(place), place, console)


@contextlib.contextmanager
def screen(log: Path, verbose: bool) -> Iterator[Console]:
    """A console of ours, with what the libraries say kept in `log` unless `verbose`."""
    if verbose:
        yield console_on()
        return
    with libraries_to(log) as screen:
        console = console_on(screen)
        try:
            yield console
        except Exception as failure:
            with after(failure, f"the full log is {log}"):
                console.print(f"the full log is {log}", style="dim")
            raise


def _embedded(root: Root) -> Path:
    from pipeline.datasets.writer import write_dataset

    write_dataset(EMBEDDED, root.data)
    return root.data


def _run(config: Config, data: Path, root: Root, console: Console) -> int:
    console.print(Text.assemble((config.name, "bold"), f": {data} → {root.path}"))
    # Imported here, with the terminal out of its reach: TFX takes its time and says a lot.
    from components.evaluator import results
    from components.release_store import store as release_store
    from pipeline import report
    from pipeline.engines import preflight
    from pipeline.engines.arguments import beam_arguments
    from pipeline.local.plan import plan_run, run_pipeline

    before, record = _outputs(root), _written(root.last_run)
    display = RunDisplay(console)
    with _shown(display):
        try:
            paths = {"--root": root.path, "--data": data, "release.path": config.release.path}
            preflight.check_paths(config.beam, paths)
            preflight.engine_of(beam_arguments(config.beam))
            run = plan_run(config, str(data), root)
            if run.data_left_out:
                console.print(Text.assemble(("note", "yellow"), f" {run.data_left_out}"))
            components = run_pipeline(config, run, root, display)
        except Exception as failure:
            if _written(root.last_run) != record:  # else it is another run's
                with after(failure, "there is no report of this run"):
                    _show_path(console, "report", report.build(root.path))
            raise
    show_components(console, components, root.path)
    outputs = {
        component.name: {name: root.see(uri) for name, uri in component.outputs.items()}
        for component in components
    }
    evaluation = results.read(outputs[ids.EVALUATOR]["evaluation"])
    show_verdict(console, evaluation)
    states = {component.name: component.state for component in components}
    status = _outcome(console, evaluation, outputs, repeated=states[ids.PUSHER] == "cached")
    if status == RELEASED:
        store = root.found(run.serving)
        _show_canary(console, release_store.served(store))
        _show_path(console, "release", store)
    # A repetition that took everything from the cache has nothing new to report.
    repeated = before == _outputs(root) and all(each.state == "cached" for each in components)
    kept = repeated and root.report.is_file()
    _show_path(console, "report", root.report if kept else report.build(root.path))
    _show_path(console, "logs", root.log)
    return status


@contextlib.contextmanager
def _shown(display: RunDisplay) -> Iterator[None]:
    """What the pipeline's own loggers say is shown while the context lasts."""
    logger = logging.getLogger("vqvae")
    logger.addHandler(display)
    with finally_do(display.close_live, "the terminal may need a reset"):
        try:
            yield
        finally:
            logger.removeHandler(display)


def _written(path: Path) -> tuple[int, int] | None:
    """Changes whenever a file is replaced; None where there is none."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns


def _outputs(root: Root) -> dict[str, dict[str, str]]:
    """What the components of the last run left; nothing where there was none."""
    try:
        record = json.loads(root.last_run.read_text(encoding="utf-8"))
        return {component["name"]: component["outputs"] for component in record["components"]}
    except (OSError, ValueError, KeyError):
        return {}


def _outcome(
    console: Console, evaluation: Evaluation, outputs: dict[str, dict[str, str]], repeated: bool
) -> int:
    """Says whether there is a release of this run's candidate; `repeated` when it is not new."""
    from components.pusher import candidate

    console.print()
    if not evaluation.blessed:
        failed = ", ".join(dict.fromkeys(c.metric for c in evaluation.checks if not c.ok))
        console.print(
            Text.assemble(
                ("not released", "red"),
                f": the gate refused it ({failed}); the release store is as it was",
            )
        )
        return NOT_BLESSED
    manifest = Path(outputs[ids.PUSHER]["pushed_model"], "release.json")
    if not manifest.is_file():
        raise PipelineError(f"the candidate was blessed but {manifest} is missing")
    release = json.loads(manifest.read_text(encoding="utf-8"))
    if not candidate.is_release(outputs[ids.TRAINERS["prior"]]["model"], release):
        raise PipelineError(
            f"not released: this run's push had made release {release['version']} of other models "
            "before; run it again with --set runtime.cache=false to release these"
        )
    note = ", by an earlier run: settings, code and data are the same" if repeated else ""
    console.print(Text.assemble(("released", "green"), f" version {release['version']}{note}"))
    return RELEASED


def _show_canary(console: Console, served: Served | None) -> None:
    """Says how to end the time of two releases, while there is one."""
    if served is not None and served.canary is not None:
        console.print(
            f"release {served.stable} is the stable one, {served.canary} the canary beside it; "
            f"`vqvae releases promote {served.canary} --store …` makes it the stable one"
        )


def _show_path(console: Console, what: str, path: Path | str) -> None:
    """Says where something is; `path` may be a URI."""
    with contextlib.suppress(ValueError):
        path = Path(path).relative_to(Path.cwd())
    console.print(f"{what:<8} {path}", soft_wrap=True)
