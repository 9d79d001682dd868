"""`vqvae payloads`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from pipeline.user_path import UserPath

_DAY = 24 * 3600
_FEWEST_DAYS = 1.0


@click.group()
def payloads() -> None:
    """Works with the data root of pipelines on Kubeflow (kubeflow.data_root)."""


@payloads.command()
@click.argument("root", type=UserPath(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=_FEWEST_DAYS),
    required=True,
    metavar="DAYS",
    help="Longer than the longest task takes: a task that reads is not seen while it does.",
)
@click.option("--remove", "really", is_flag=True, help="Without it they are only listed.")
def prune(root: Path, days: float, really: bool) -> None:
    """Removes payloads that no task has written or read for DAYS days.

    ROOT is the path of data_root, in a pod or a machine that mounts its volume. Releases and
    baselines need none of them: the release store has copies of its own. What a later run still
    reads, also by way of Kubeflow's cache, counts as used.
    """
    from kubeflow.container import sweep

    before = time.time() - days * _DAY
    count, size, kept = 0, 0, 0
    for attempt in sweep.attempts(root):
        if attempt.used > before:
            kept += 1
            continue
        if really:
            sweep.remove(attempt)
        mib, idle = attempt.size / 2**20, (time.time() - attempt.used) / _DAY
        click.echo(f"{attempt.path}  {mib:,.1f} MiB, last used {idle:.0f} days ago")
        count, size = count + 1, size + attempt.size
    done = "removed" if really else "to be removed with --remove"
    click.echo(f"{count} {done}, {size / 2**20:,.1f} MiB; {kept} in use")
