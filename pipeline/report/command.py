"""`vqvae report`."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import writable
from pipeline.log_file import libraries_to
from pipeline.report import build, require_run
from pipeline.user_path import UserPath


@click.command()
@click.option(
    "--root",
    type=UserPath(path_type=Path, file_okay=False),
    default=Path("runs/digits"),
    show_default=True,
    help="Run root, as given to `vqvae run`.",
)
def report(root: Path) -> None:
    """Builds the HTML report of the latest run again."""
    require_run(root)
    with writable.log(root / "logs" / "report.log") as log, libraries_to(log):
        path = build(root)
    click.echo(path)
