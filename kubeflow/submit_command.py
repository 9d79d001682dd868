"""`vqvae submit`."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from components.errors import PipelineError
from kubeflow.client import Connection, connection_options

RELEASED, NOT_BLESSED, FAILED = 0, 3, 1


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
    return click.argument("package", type=click.Path(path_type=Path, exists=True, dir_okay=False))(
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
    from kubeflow import package as packages
    from kubeflow.submit import create_run

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
    from kubeflow.submit import follow

    shown: dict[str, str] = {}

    def observe(states: dict[str, str]) -> None:
        for task, state in states.items():
            if shown.get(task) != state:
                shown[task] = state
                now = datetime.datetime.now().strftime("%H:%M:%S")
                click.echo(f"{now}  {task:<18} {state.lower()}")

    try:
        outcome = follow(client, connection, run_id, observe, timeout)
    except KeyboardInterrupt:
        click.echo(f"the run {run_id} goes on; Kubeflow's page shows it", err=True)
        raise
    for task, log in outcome.failed.items():
        click.echo(f"\nthe end of the log of {task}:\n{log}\n")
    if outcome.state != "SUCCEEDED":
        names = ", ".join(outcome.failed) or "no task says why"
        raise PipelineError(f"run {run_id} ended as {outcome.state.lower()}: {names}")
    if outcome.verdict is None:
        raise PipelineError(
            f"run {run_id} succeeded, but the Pusher's log, which says what came of it, cannot be "
            "had; see the output of Pusher in Kubeflow's page, or `releases/latest.json`"
        )
    if outcome.verdict.released is None:
        click.echo(f"not released: {outcome.verdict.reason}")
        return NOT_BLESSED
    click.echo(f"released version {outcome.verdict.released}")
    return RELEASED
