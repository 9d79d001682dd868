"""`vqvae encode`, `decode` and `sample`: the released models on files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click

from components import release_store
from components.errors import PipelineError
from components.release import Release
from pipeline.log_file import libraries_to
from pipeline.root import Root

_ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/digits"),
    show_default=True,
    help="Run root whose latest release is used.",
)
_VERSION = click.option(
    "--version", type=click.IntRange(min=1), help="A release; latest if left out."
)


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Codes, a .npz file.")
@_ROOT
@_VERSION
def encode(images: tuple[Path, ...], out: Path, root: Path, version: int | None) -> None:
    """Codes of PNG or JPEG IMAGES, written to a .npz file.

    It holds `codes` [N, h, w], `names` [N], and the release and codebook they belong to.
    """
    with _quiet(root, version) as (model_files, release):
        count = model_files.encode_files(release, images, out)
    click.echo(f"{out}: codes of {count} image{'s' * (count != 1)}")


@click.command()
@click.argument("codes", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory of PNGs.")
@_ROOT
@_VERSION
def decode(codes: Path, out: Path, root: Path, version: int | None) -> None:
    """Images of CODES, a .npz file that `vqvae encode` or `vqvae sample` wrote."""
    with _quiet(root, version) as (model_files, release):
        written = model_files.decode_file(release, codes, out)
    click.echo(f"{out}: {len(written)} images")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory of PNGs.")
@click.option("--count", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--label", type=int, default=-1, show_default=True, help="-1 is unconditional.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--temperature", type=float, default=1.0, show_default=True)
@click.option(
    "--top-k",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Draw among the k likeliest codes only; 0 is all.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(min=0.0, max=1.0, min_open=True),
    default=1.0,
    show_default=True,
    help="Draw among the fewest codes that have this probability together; 1 is all.",
)
@_ROOT
@_VERSION
def sample(
    out: Path,
    count: int,
    label: int,
    seed: int,
    temperature: float,
    top_k: int,
    top_p: float,
    root: Path,
    version: int | None,
) -> None:
    """New images drawn from the prior, and their codes in `codes.npz`."""
    with _quiet(root, version) as (model_files, release):
        draw = model_files.Draw(label, seed, temperature, top_k, top_p)
        written = model_files.sample_images(release, out, count, draw)
    click.echo(f"{out}: {len(written)} images")


@contextlib.contextmanager
def _quiet(root: Path, version: int | None) -> Iterator[tuple[ModuleType, Release]]:
    """The release, and the module that uses it, with what TensorFlow says kept in a log file."""
    release = _release(Root(root).serving, version)
    with libraries_to(Root(root).log.with_name("models.log")):
        from pipeline import model_files

        yield model_files, release


def _release(store: Path, version: int | None) -> Release:
    if version is not None:
        return release_store.get(store, version)
    release = release_store.latest(store)
    if release is None:
        raise PipelineError(
            f"nothing has been released to {store} yet; `vqvae run` makes a release"
        )
    return release
