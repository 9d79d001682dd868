"""`vqvae data`: writes a data set that the pipeline reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.progress_bar import ProgressBar
from pipeline.user_path import UserPath

if TYPE_CHECKING:
    from pipeline.datasets.facts import Words
    from pipeline.datasets.writer import Dataset

_SHOWN = 5  # classes that a message names

# What takes time to import is imported when the command runs: `--help` answers at once.


@click.command()
@click.argument("name")
@click.argument("out", type=UserPath(path_type=Path))
@click.option(
    "--source",
    type=UserPath(path_type=Path),
    metavar="DIR",
    help="Folder to read: required for cifar10, idx, folder and audio-folder, optional for "
    "fashion-mnist, tfds:NAME and speech.",
)
def data(name: str, out: Path, source: Path | None) -> None:
    """Writes the data set NAME to the folder OUT, as TFRecords for `vqvae run --data OUT`.

    \b
    NAME is one of
      digits         1,797 handwritten digits of 8×8, embedded
      fashion-mnist  70,000 images of clothing, 28×28; from the Debian package
                     dataset-fashion-mnist, or from --source
      cifar10        60,000 images of ten classes, 32×32 in colour: the binary version,
                     data_batch_1.bin to data_batch_5.bin and test_batch.bin
      idx            MNIST-format files: train-images-idx3-ubyte[.gz],
                     train-labels-idx1-ubyte[.gz], t10k-images-…, t10k-labels-…
      folder         image files; subfolders, sorted, are the classes 0, 1, …;
                     train/ and eval/ (or val/, validation/, test/) are the splits,
                     without them a tenth is held out
      tfds:NAME      a TensorFlow Dataset (pip install '.[datasets]')
      speech         3.7 hours of five speakers, 16 kHz; from Debian packages, or from
                     --source, where they are unpacked
      audio-folder   recordings (WAV, FLAC, Ogg, MP3, .g722); subfolders are the
                     speakers, splits as of folder

    A data set that is there already is left as it is. OUT/dataset.json describes it, with the
    name of every label.
    """
    from pipeline.datasets.writer import write_dataset

    with ProgressBar() as bar:
        dataset = write_dataset(name, out, source, progress=bar.update)
    if dataset.skipped_example:
        _tell_left_out(dataset)
    for split, classes in dataset.lacking.items():
        click.echo(_lacking(split, classes, dataset.manifest.facts.WORDS), err=True)
    state = "" if dataset.made else "already there, left as it is: "
    click.echo(f"{out}: {state}{dataset.manifest.describe()}")


def _tell_left_out(dataset: Dataset) -> None:
    from pipeline.datasets.writer import SKIPPED

    described, words = dataset.manifest, dataset.manifest.facts.WORDS
    damaged, files = described.damaged_files, described.skipped_files - described.damaged_files
    if damaged:
        share = damaged / (damaged + sum(described.records.values()))
        more = ", …" if damaged > len(dataset.damaged) else ""
        click.echo(
            f"left out {damaged:,} {words.record if damaged == 1 else words.records} that "
            f"{words.damaged} "
            f"({share:.2%}): {', '.join(dataset.damaged)}{more}",
            err=True,
        )
    if files:
        click.echo(
            f"passed over {files:,} file{'s' * (files != 1)} that {words.passed_over}, "
            f"such as {dataset.skipped_example}",
            err=True,
        )
    if (dataset.path / SKIPPED).is_file():
        click.echo(f"all that was left out is listed in {dataset.path / SKIPPED}", err=True)


def _lacking(split: str, classes: tuple[str, ...], words: Words) -> str:
    """What follows from a split that lacks classes, which are named as far as a line goes."""
    count = len(classes)
    names = ", ".join(map(repr, classes[:_SHOWN])) + ", …" * (count > _SHOWN)
    what, them = f"the {words.label} {names}", "it"
    if count > 1:
        what, them = f"{count:,} {words.labels} ({names})", "them"
    aim, other = ("learned", "eval") if split == "train" else ("judged", "train")
    return (
        f"{split} has no {words.record} of {what}, which will not be {aim}; "
        f"add some, or remove {them} from {other}"
    )
