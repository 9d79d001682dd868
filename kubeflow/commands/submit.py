"""`vqvae submit`."""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from components.errors import PipelineError
from kubeflow.api.client import Connection, connection_options
from pipeline.commands.exit_status import NOT_BLESSED, RELEASED
from pipeline.user_path import UserPath

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {"SUCCEEDED": "green", "SKIPPED": "cyan", "FAILED": "red", "RUNNING": "yellow"}


def package_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what a run and a schedule are both given."""
    for option in (
        click.option("--service-account", help="Of the pods.  [default: the installation's]"),
        click.option("--pipeline-root", metavar="URI", help="Where the artifacts go."),
        click.option(
            "--param",
            "parameters",
            multiple=True,
            metavar="NAME=VALUE",
            help="Set a runtime parameter.",
        ),
        click.option("--experiment", default="vqvae", show_default=True, help="Group of the runs."),
    ):
        command = option(command)
    return click.argument("package", type=UserPath(path_type=Path, exists=True, dir_okay=False))(
        command
    )


@click.command()
@package_argument
@click.option("--run-name", help="Name of the run.  [default: pipeline and time]")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Follow it to its end.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Longest to wait for the end.")
@connection_options
def submit(
    package: Path,
    connection: Connection,
    experiment: str,
    parameters: tuple[str, ...],
    pipeline_root: str | None,
    service_account: str | None,
    run_name: str | None,
    wait: bool,
    timeout: float | None,
) -> None:
    """Runs a compiled pipeline on Kubeflow, and follows it to its end.

    PACKAGE is a file of `vqvae compile`. It is uploaded, as a new version where a pipeline of its
    name exists, unless this very file was uploaded before.

    Exit status, as of `vqvae run`: 0 released, 3 finished but refused by the gate, 2 bad usage or
    configuration, 1 failed.
    """
    from kubeflow.api import package as packages
    from kubeflow.api.submit import create_run

    compiled = packages.load(package)
    values = packages.read_parameters(compiled, parameters)
    root = packages.pipeline_root(compiled, pipeline_root)
    name = run_name or f"{compiled.name} {datetime.datetime.now():%Y-%m-%d %H:%M:%S}"
    client = connection.open()
    run_id = create_run(
        client, connection, compiled, experiment, name, values, root, service_account
    )
    click.echo(f"run {run_id} ({name})")
    if wait:
        sys.exit(_follow(client, connection, run_id, timeout))


def _follow(client: Any, connection: Connection, run_id: str, timeout: float | None) -> int:
    from kubeflow.api.submit import follow, how_to_watch

    try:
        with _display() as observe:
            outcome = follow(client, connection, run_id, observe, timeout)
    except KeyboardInterrupt:
        click.echo(f"the run {run_id} goes on; {how_to_watch(connection, run_id)}", err=True)
        raise
    for task, log in outcome.failed.items():
        click.echo(f"\n{task} failed; the end of its log:\n{log}\n")
    if outcome.state != "SUCCEEDED" or outcome.verdict is None:
        names = ", ".join(outcome.failed) or "no task says why"
        if outcome.verdict and outcome.verdict.released:
            names += f"; it had released version {outcome.verdict.released}, which stays"
        raise PipelineError(
            f"run {run_id} ended as {outcome.state.lower()}: {names}; "
            + how_to_watch(connection, run_id)
        )
    if outcome.verdict.released is None:
        click.echo(f"not released: {outcome.verdict.reason}")
        return NOT_BLESSED
    click.echo(f"released version {outcome.verdict.released}")
    return RELEASED


@contextlib.contextmanager
def _display() -> Iterator[Callable[[dict[str, str]], None]]:
    """What shows task -> state: a table that changes in a terminal, elsewhere a line a change."""
    from rich.live import Live

    from pipeline.commands.console import console_on

    console = console_on()
    since: dict[str, tuple[str, datetime.datetime]] = {}

    def changed(states: dict[str, str]) -> list[str]:
        now = datetime.datetime.now()
        names = [task for task, state in states.items() if since.get(task, ("",))[0] != state]
        since.update((task, (states[task], now)) for task in names)
        return names

    if not console.is_terminal:

        def show_lines(states: dict[str, str]) -> None:
            for task in changed(states):
                state, time = since[task]
                click.echo(f"{time:%H:%M:%S}  {task:<18} {state.lower()}")

        yield show_lines
        return

    with Live(console=console, refresh_per_second=1) as live:

        def show_table(states: dict[str, str]) -> None:
            changed(states)
            live.update(_table(since))

        yield show_table


def _table(since: dict[str, tuple[str, datetime.datetime]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("task", "state", "since", box=None, pad_edge=False, header_style="bold")
    for task, (state, time) in since.items():
        table.add_row(task, Text(state.lower(), _STYLES.get(state, "")), f"{time:%X}")
    return table
