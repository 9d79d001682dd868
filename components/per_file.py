"""Work on an Examples artifact, a Beam element for each of its files.

Inside one file everything that touches a record then runs in C++ over whole batches, with tf.data
reading ahead; among files Beam divides the work. What each file gave comes back as a line of text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import tensorflow as tf
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components import contents, record_files
from components.contents import Contents, FileContents, SplitContents, merged
from components.durable_files import UNFINISHED
from components.errors import PipelineError
from components.features import Pixels

# Bytes of records, and of what they are decoded to, that are read at a time, at most; as many again
# are read ahead. What is larger goes back to the system in between, and getting it anew takes as
# long as decoding: batches of 50 MB took a third more than batches of 3 to 13 MB.
_BATCH_BYTES = 2**23


class FileJob(NamedTuple):
    """One file of records, and the file to make of it."""

    split: str
    source: str
    target: str
    # Folder for what is not whole yet.
    unfinished: str
    # What is in the source.
    held: FileContents


def rewrite(
    make_pipeline: Callable[[], beam.Pipeline],
    source: types.Artifact,
    target: types.Artifact,
    prefix: str,
    work: beam.DoFn,
    pixels: Pixels = "stored",
) -> Contents:
    """Makes a file of `target` of every file of `source`, and writes what `target` then holds.

    Args:
        make_pipeline: of Beam, with the runner's options.
        source: Examples.
        target: Examples; becomes one of the same splits.
        prefix: of the names of its files.
        work: gets each `FileJob` and yields the `SplitContents` of the file that it wrote.
        pixels: how its records hold images, if they do.

    Raises:
        PipelineError: the files of `source` are not those that were written.
    """
    target.split_names = source.split_names
    examples_utils.set_payload_format(target, example_gen_pb2.FORMAT_TF_EXAMPLE)
    # Beside the splits, not in them: readers take every file of a split's folder.
    unfinished = os.path.join(target.uri, UNFINISHED)
    fileio.makedirs(unfinished)
    todo = list(_jobs(source, target, prefix, unfinished))
    found: dict[str, list[SplitContents]] = {job.split: [] for job in todo}
    split_of = {job.target: job.split for job in todo}
    for line in lines(make_pipeline, todo, beam.ParDo(_Told(work)), unfinished):
        path, _, held = line.partition("\t")
        found[split_of[path]].append(SplitContents.model_validate_json(held))
    splits = {split: merged(parts) for split, parts in found.items()}
    written = Contents(splits=splits, pixels=pixels)
    written.write(target.uri)
    fileio.rmtree(unfinished)
    return written


def files_of(examples: types.Artifact, split: str) -> dict[str, FileContents]:
    """The files of a split, in order of their names, and what is in each.

    Raises:
        PipelineError: they are not those that were written.
    """
    pattern = io_utils.all_files_pattern(artifact_utils.get_split_uri([examples], split))
    return contents.files([pattern])


def lines(
    make_pipeline: Callable[[], beam.Pipeline],
    elements: Sequence[Any],
    work: beam.PTransform,
    scratch: str,
) -> list[str]:
    """Runs `work` over the elements, spread over the workers, and returns the lines it yields.

    Args:
        scratch: folder that all workers and this process see.
    """
    prefix = os.path.join(scratch, "lines")
    with make_pipeline() as pipeline:
        _ = (
            pipeline
            | "Files" >> beam.Create(elements)
            | "Spread" >> beam.Reshuffle()
            | "Work" >> work
            | "Lines" >> beam.io.WriteToText(prefix)
        )
    found: list[str] = []
    for path in sorted(fileio.glob(prefix + "*")):
        with fileio.open(path) as file:
            found += file.read().splitlines()
        fileio.remove(path)
    return found


def at_once(held: FileContents, most: int, decoded: int = 0) -> int:
    """Records of a file to read at a time: so many, or as few as fill 8 MiB.

    Args:
        held: what is in the file.
        most: of them.
        decoded: bytes that a record is decoded to.
    """
    return max(1, min(most, _BATCH_BYTES // max(held.longest, decoded, 1)))


class Batches:
    """Yields what `parse` makes of batches of records, file after file, while the next is made.

    Made once for all files: tracing how images are decoded takes as long as a thousand of them.

    Args:
        parse: of serialized Examples, string `[N]`; in a graph.
        wrong: what it means that `parse` refuses a batch, after the name of the file.
        again: what would write the file anew.
    """

    def __init__(self, parse: Callable[[tf.Tensor], Any], wrong: str, again: str):
        self._wrong, self._again = wrong, again
        self._file, self._size = tf.Variable(""), tf.Variable(1, dtype=tf.int64)
        self._dataset = (
            tf.data.Dataset.from_tensors(0)
            .flat_map(lambda _: record_files.read_records(self._file).batch(self._size))
            .map(parse)
            .prefetch(2)
        )

    def of(self, file: str, size: int) -> Iterator[Any]:
        """The batches of one file, of `size` records; to be read to the end before the next.

        Raises:
            PipelineError: the file is damaged, or `parse` refuses what is in it.
        """
        self._file.assign(file)
        self._size.assign(size)
        found = iter(self._dataset)
        while True:
            try:
                batch = next(found, None)
            except tf.errors.DataLossError as error:
                raise PipelineError(f"{file} is damaged; {self._again}") from error
            except tf.errors.InvalidArgumentError as error:
                raise PipelineError(f"{file} {self._wrong}") from error
            if batch is None:
                return
            yield batch


class _Told(beam.DoFn):
    """Runs a DoFn, and tells in a line of text which file it wrote and what is in it."""

    def __init__(self, work: beam.DoFn):
        self._work = work

    def setup(self) -> None:
        self._work.setup()

    def process(self, job: FileJob) -> Iterator[str]:
        for held in self._work.process(job):
            yield f"{job.target}\t{held.model_dump_json()}"


def _jobs(
    source: types.Artifact, target: types.Artifact, prefix: str, unfinished: str
) -> Iterator[FileJob]:
    for split in artifact_utils.decode_split_names(source.split_names):
        files = files_of(source, split)
        folder = artifact_utils.get_split_uri([target], split)
        fileio.makedirs(folder)
        for index, (file, held) in enumerate(files.items()):
            name = record_files.file_name(prefix, index, len(files))
            yield FileJob(split, file, os.path.join(folder, name), unfinished, held)
