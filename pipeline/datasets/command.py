"""`vqvae data`: writes a data set that the pipeline reads."""

from __future__ import annotations

import sys
from pathlib import Path

import click

# What takes time to import is imported when the command runs: `--help` answers at once.


@click.command()
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder to read: required for idx and folder, optional for fashion-mnist and tfds:NAME.",
)
def data(name: str, out: Path, source: Path | None) -> None:
    """Writes the data set NAME to the folder OUT, as TFRecords for `vqvae run --data OUT`.

    \b
    NAME is one of
      digits         1,797 handwritten digits of 8×8, embedded
      fashion-mnist  70,000 images of clothing, 28×28; from the Debian package
                     dataset-fashion-mnist, or from --source
      idx            MNIST-format files: train-images-idx3-ubyte[.gz],
                     train-labels-idx1-ubyte[.gz], t10k-images-…, t10k-labels-…
      folder         image files; subfolders, sorted, are the classes 0, 1, …;
                     train/ and eval/ (or val/, validation/, test/) are the splits,
                     without them a tenth is held out
      tfds:NAME      a TensorFlow Dataset (pip install '.[datasets]')

    A data set that is there already is left as it is. OUT/dataset.json describes it, with the
    name of every label.
    """
    from pipeline.datasets.writer import write_dataset

    with _Bar() as bar:
        dataset = write_dataset(name, out, source, progress=bar.update)
    if dataset.skipped_example:
        files = dataset.manifest.skipped_files
        click.echo(
            f"passed over {files} file{'s' * (files != 1)} that Pillow cannot read as an image, "
            f"such as {dataset.skipped_example}",
            err=True,
        )
    state = "" if dataset.made else "already there, left as it is: "
    click.echo(f"{out}: {state}{dataset.manifest.describe()}")


class _Bar:
    """A progress bar on stderr, where that is a terminal."""

    def __init__(self) -> None:
        self._progress = self._task = self._stage = None

    def __enter__(self) -> _Bar:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
            from rich.progress import TimeRemainingColumn as Remaining

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                Remaining(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
        return self

    def update(self, stage: str, done: int, total: int | None) -> None:
        if self._progress is None:
            return
        if stage != self._stage:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._stage, self._task = stage, self._progress.add_task(stage, total=total)
        # A call for every image would cost more than the image.
        if done % 100 == 0 or done == total:
            self._progress.update(self._task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
