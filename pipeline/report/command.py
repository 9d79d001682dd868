"""`vqvae report`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/digits"),
    show_default=True,
    help="Run root, as given to `vqvae run`.",
)
def report(root: Path) -> None:
    """Builds the HTML report of the latest run again."""
    from pipeline.report import build

    click.echo(f"the report is {build(root)}")
