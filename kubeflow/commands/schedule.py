"""`vqvae schedule`: retraining at fixed times."""

from __future__ import annotations

from pathlib import Path

import click

from kubeflow.api.client import Connection, connection_options
from kubeflow.commands.submit import package_argument

_time_zone_option = click.option(
    "--time-zone",
    default="UTC",
    show_default=True,
    help="Of the cluster's schedule controller (its CRON_SCHEDULE_TIMEZONE).",
)


@click.group()
def schedule() -> None:
    """Runs a compiled pipeline again and again, at fixed times."""


@schedule.command("apply")
@package_argument
@click.option("--name", required=True, help="Name of the schedule.")
@click.option(
    "--cron",
    required=True,
    metavar="'S M H D M W'",
    help="Six fields, seconds first: '0 0 3 * * *' is every day at 3.",
)
@_time_zone_option
@connection_options
def apply_schedule(
    package: Path,
    connection: Connection,
    name: str,
    cron: str,
    time_zone: str,
    experiment: str,
    parameters: tuple[str, ...],
    pipeline_root: str | None,
    service_account: str | None,
) -> None:
    """Sees to it that one schedule NAME exists and runs PACKAGE as given.

    Given again, it changes nothing; given with anything else, it replaces the schedule.
    """
    from kubeflow.api import cron as expressions
    from kubeflow.api import package as packages
    from kubeflow.api.schedule import apply

    expression = expressions.check(cron)
    times = expressions.next_times(expression, time_zone)
    compiled = packages.load(package)
    values = packages.read_parameters(compiled, parameters)
    root = packages.pipeline_root(compiled, pipeline_root)
    done = apply(
        connection.open(),
        connection,
        compiled,
        name,
        expression,
        experiment,
        values,
        root,
        service_account,
    )
    what = "created" if done.created else "unchanged"
    if done.paused:
        what += f", paused as before (vqvae schedule resume {name})"
    replaced = f", {done.replaced} older removed" if done.replaced else ""
    click.echo(f"schedule {name} {what}{replaced} ({done.schedule_id})")
    for other in done.foreign:
        click.echo(f"left alone: {other}, of the same name, was not made by vqvae", err=True)
    click.echo(f"{'would fire' if done.paused else 'fires'} next ({time_zone}):")
    for time in times:
        click.echo(f"  {time:%a %Y-%m-%d %H:%M:%S %Z}")


@schedule.command("list")
@_time_zone_option
@connection_options
def list_schedules(connection: Connection, time_zone: str) -> None:
    """Shows every schedule that vqvae made."""
    from kubeflow.api import cron as expressions
    from kubeflow.api.schedule import is_enabled, mark, schedules, version_name

    client = connection.open()
    found = [each for each in schedules(client, connection) if mark(each)]
    if not found:
        click.echo("there are no schedules")
        return
    rows = [("name", "cron", "state", f"fires next ({time_zone})", "version")]
    for each in sorted(found, key=lambda one: one.display_name):
        cron = each.trigger.cron_schedule.cron
        (time,) = expressions.next_times(cron, time_zone, count=1)
        enabled = is_enabled(each)
        rows.append(
            (
                each.display_name,
                cron,
                "enabled" if enabled else "paused",
                f"{time:%a %Y-%m-%d %H:%M:%S}" if enabled else "–",
                version_name(client, connection, each),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())


def _add(command: str, verb: str, done: str, help_text: str) -> None:
    @schedule.command(command, help=help_text)
    @click.argument("name")
    @connection_options
    def change_schedule(name: str, connection: Connection) -> None:
        from kubeflow.api.schedule import change

        change(connection.open(), connection, name, verb)
        click.echo(f"schedule {name} {done}")


_add("pause", "disable", "paused", "Stops it from firing until it is resumed.")
_add("resume", "enable", "resumed", "Lets it fire again.")
_add("delete", "delete", "deleted", "Removes it; a run that it has going may end.")
