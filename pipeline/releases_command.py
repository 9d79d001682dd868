"""`vqvae releases`: what has been released, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from components import release_store
from components.release import Release, StoreError

# Columns of `list` beside version, time and state: heading, metric, format.
_METRICS = (
    ("NMSE", "nmse", "{:.4f}"),
    ("PSNR dB", "psnr", "{:.2f}"),
    ("codes used", "code_usage", "{:.1%}"),
    ("prior bits/code", "prior_bits_per_code", "{:.3f}"),
    ("bits/dim", "bits_per_dim", "{:.3f}"),
)


def _store_options(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option(
        "--store",
        type=click.Path(path_type=Path, file_okay=False),
        help="Release store, where it is not `serving` below the run root.",
    )(command)
    return click.option(
        "--root",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("runs/digits"),
        show_default=True,
        help="Run root, as given to `vqvae run`.",
    )(command)


@click.group()
def releases() -> None:
    """Lists releases and goes back to an earlier one."""


@releases.command("list")
@_store_options
def list_releases(root: Path, store: Path | None) -> None:
    """Shows every release, newest first."""
    folder = store or root / "serving"
    versions = release_store.versions(folder)
    if not versions:
        click.echo(f"nothing has been released to {folder} yet")
        return
    problem = None
    try:
        latest = release_store.latest(folder)
    except StoreError as error:
        latest, problem = None, error
    rows = [("version", "created", *(heading for heading, _, _ in _METRICS), "state")]
    rows += [_row(folder, version, latest) for version in reversed(versions)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    if problem:
        raise click.ClickException(str(problem))


@releases.command()
@click.argument("version", type=click.IntRange(min=1))
@_store_options
def rollback(version: int, root: Path, store: Path | None) -> None:
    """Makes VERSION the release that is served; no release is lost by it."""
    folder = store or root / "serving"
    try:
        release = release_store.rollback(folder, version)
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"release {release.version} in {folder} is now the one that is served")


def _row(folder: Path, version: int, latest: Release | None) -> tuple[str, ...]:
    try:
        manifest = release_store.get(folder, version).manifest
    except StoreError:
        return (str(version), *("-" for _ in range(1 + len(_METRICS))), "damaged")
    state = "served" if latest and latest.version == version else ""
    return (str(version), str(manifest.get("created", "-")), *_metrics(manifest), state)


def _metrics(manifest: dict[str, Any]) -> list[str]:
    values = manifest.get("metrics") or {}
    return [
        shape.format(values[name]) if isinstance(values.get(name), (int, float)) else "-"
        for _, name, shape in _METRICS
    ]
