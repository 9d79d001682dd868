"""`vqvae releases`: what has been released, what is served, and the way forward and back."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from components.errors import PipelineError
from components.release_store import model_card
from components.release_store import store as release_store
from components.release_store.check import differences
from components.release_store.release import MODELS, StoreError
from components.release_store.rollout import Served
from pipeline.commands.log_file import libraries_to
from pipeline.commands.options import root_option
from pipeline.commands.releases_mirror import mirror
from pipeline.local import newest_root
from pipeline.local.root import Root
from pipeline.user_path import StoreAddress

# Columns of `list` beside version, time and state: heading, metric, format.
_METRICS = (
    ("NMSE", "nmse", "{:.4f}"),
    ("PSNR dB", "psnr", "{:.2f}"),
    ("SSIM", "ssim", "{:.3f}"),
    ("codes used", "code_usage", "{:.1%}"),
    ("prior bits/code", "prior_bits_per_code", "{:.3f}"),
    ("bits/dim", "bits_per_dim", "{:.3f}"),
)

_VERSION = click.argument("version", type=click.IntRange(min=1))


def _store_option(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command its store, and makes what goes wrong there an error in one line."""

    @functools.wraps(command)
    def with_store(root: Path | None, store: str | None, **arguments: Any) -> None:
        try:
            if not store:
                store = str((Root(root) if root else newest_root.with_release()).serving)
            command(store, **arguments)
        except PipelineError as error:
            raise click.ClickException(str(error)) from error

    with_store = click.option(
        "--store",
        type=StoreAddress(),
        metavar="DIRECTORY|URI",
        help="Release store, where it is not `serving` below the run root: s3://…, gs://… too.",
    )(with_store)
    return root_option("Run root, as given to `vqvae run`.")(with_store)


@click.group()
def releases() -> None:
    """Lists, shows, checks and removes releases; decides which of them servers answer with."""


@releases.command("list")
@_store_option
def list_releases(store: str) -> None:
    """Shows every release, newest first, and which are served.

    States: stable; canary, beside it; served, the one to go back to.
    """
    versions = release_store.versions(store)
    if not versions:
        click.echo(f"nothing has been released to {store} yet")
        return
    served, problem = None, None
    try:
        served = release_store.served(store)
        with release_store.opened_stable(store, []):
            pass
    except StoreError as error:
        problem = error
    rows = [("version", "created", *(heading for heading, _, _ in _METRICS), "state")]
    rows += [_row(store, version, served) for version in reversed(versions)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    if problem:
        raise problem


@releases.command()
@_VERSION
@_store_option
def rollback(store: str, version: int) -> None:
    """Goes back to an earlier VERSION, which is then the only one that is served.

    The next run is compared with it. No release is lost.
    """
    _promote(store, version)


@releases.command()
@_VERSION
@_store_option
def promote(store: str, version: int) -> None:
    """Makes VERSION the stable release: a canary that has proven itself, most often.

    The one before it stays served, to go back to. The next run is compared with VERSION.
    """
    _promote(store, version)


def _promote(store: str, version: int) -> None:
    release_store.promote(store, version)
    click.echo(f"release {version} in {store} is now the stable one{_beside(store)}")


def _beside(store: str) -> str:
    served = release_store.served(store)
    previous = served.previous if served else None
    return "" if previous is None else f"; release {previous} is still served, to go back to"


@releases.command()
@click.argument("version", type=click.IntRange(min=1), required=False)
@click.option("--off", is_flag=True, help="Ends the canary; the stable release stays.")
@_store_option
def canary(store: str, version: int | None, off: bool) -> None:
    """Serves VERSION beside the stable release, under the label `canary`."""
    if off == (version is not None):
        raise click.UsageError("give either a VERSION or --off")
    served = release_store.set_canary(store, version)
    what = "there is no canary any more" if off else f"release {version} is now the canary"
    click.echo(f"{what}; release {served.stable} is the stable one in {store}")


@releases.command()
@_VERSION
@_store_option
def show(store: str, version: int) -> None:
    """Shows the model card of VERSION: use, data, metrics against the gate, lineage."""
    from rich.markdown import Markdown

    from pipeline.commands.console import console_on

    with release_store.opened(store, version, []) as release:
        text = model_card.render(release.manifest)
    console = console_on()
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        click.echo(text, nl=False)


@releases.command()
@click.argument("version", type=click.IntRange(min=1), required=False)
@_store_option
def verify(store: str, version: int | None) -> None:
    """Hashes every file of VERSION, or of all releases, and loads each SavedModel.

    Exit status 1 if anything differs from what was released.
    """
    versions = [version] if version else release_store.versions(store)
    if not versions:
        click.echo(f"nothing has been released to {store} yet")
    damaged = []
    for each in versions:
        problems = _problems(store, each)
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
@_store_option
def prune(store: str, keep: int) -> None:
    """Removes old releases; never one that is served."""
    removed = release_store.prune(store, keep)
    click.echo(f"removed: {', '.join(map(str, removed)) or 'none'}")


releases.add_command(mirror)


def _problems(store: str, version: int) -> list[str]:
    try:
        with release_store.opened(store, version, MODELS) as release:
            if problems := differences(release):
                return problems
            with tempfile.TemporaryDirectory() as scratch, libraries_to(Path(scratch) / "log"):
                from components.release_store.loading import failure

                found = (failure(release, model) for model in MODELS)
                return [problem for problem in found if problem]
    except StoreError as error:
        return [str(error)]


def _row(store: str, version: int, served: Served | None) -> tuple[str, ...]:
    try:
        with release_store.opened(store, version, []) as release:
            manifest = release.manifest
    except StoreError:
        return (str(version), *("-" for _ in range(1 + len(_METRICS))), "damaged")
    state = served.state(version) if served else ""
    return (str(version), str(manifest.get("created", "-")), *_metrics(manifest), state)


def _metrics(manifest: dict[str, Any]) -> list[str]:
    values = manifest.get("metrics") or {}
    return [
        shape.format(values[name]) if isinstance(values.get(name), (int, float)) else "-"
        for _, name, shape in _METRICS
    ]
