"""`vqvae report`."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.log_file import libraries_to
from pipeline.commands.options import root_option
from pipeline.local import newest_root, writable
from pipeline.report import build, require_run


@click.command()
@root_option("Run root, as given to `vqvae run`.", newest="run")
def report(root: Path | None) -> None:
    """Builds the HTML report of the latest run again."""
    root = root or newest_root.with_run().path
    require_run(root)
    with writable.log(root / "logs" / "report.log") as log, libraries_to(log):
        path = build(root)
    click.echo(path)
