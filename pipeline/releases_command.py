"""`vqvae releases`: what has been released, and the way back."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from components import model_card, release_store
from components.release import MODELS, Release, StoreError
from pipeline.log_file import libraries_to

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
    """Lists, shows, checks and removes releases, and goes back to an earlier one."""


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
    with _errors():
        release = release_store.rollback(folder, version)
    click.echo(f"release {release.version} in {folder} is now the one that is served")


@releases.command()
@click.argument("version", type=click.IntRange(min=1))
@_store_options
def show(version: int, root: Path, store: Path | None) -> None:
    """Shows the model card of VERSION: use, data, metrics against the gate, lineage."""
    from rich.console import Console
    from rich.markdown import Markdown

    with _errors():
        release = release_store.get(store or root / "serving", version)
    text = model_card.render(release.manifest)
    console = Console()
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        click.echo(text, nl=False)


@releases.command()
@click.argument("version", type=click.IntRange(min=1), required=False)
@_store_options
def verify(version: int | None, root: Path, store: Path | None) -> None:
    """Hashes every file of VERSION, or of all releases, and loads each SavedModel.

    Exit status 1 if anything differs from what was released.
    """
    folder = store or root / "serving"
    versions = [version] if version else release_store.versions(folder)
    if not versions:
        click.echo(f"nothing has been released to {folder} yet")
    damaged = []
    for each in versions:
        problems = _problems(folder, each)
        click.echo(f"release {each}: {'; '.join(problems) or 'whole'}")
        damaged += [str(each)] * bool(problems)
    if damaged:
        raise click.ClickException(
            f"damaged: {', '.join(damaged)}; restore the files from a copy, or point servers at "
            "another release with `vqvae releases rollback`"
        )


@releases.command()
@click.option(
    "--keep", type=click.IntRange(min=1), required=True, help="How many of the newest stay."
)
@_store_options
def prune(keep: int, root: Path, store: Path | None) -> None:
    """Removes old releases; never one that is served."""
    with _errors():
        removed = release_store.prune(store or root / "serving", keep)
    click.echo(f"removed: {', '.join(map(str, removed)) or 'none'}")


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise click.ClickException(str(error)) from error


def _problems(folder: Path, version: int) -> list[str]:
    try:
        release = release_store.get(folder, version)
    except StoreError as error:
        return [str(error)]
    problems = release_store.verify(release)
    if problems:
        return problems
    with tempfile.TemporaryDirectory() as scratch, libraries_to(Path(scratch) / "log"):
        from components.saved_model_loading import failure

        found = (failure(release.path(model)) for model in MODELS)
        return [problem for problem in found if problem]


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
