"""Files to files by Beam, one element per file: what encoding and decoding in bulk share.

A file is the unit because gzip files cannot be read from the middle anyhow, and because inside
one file everything that touches an image then runs over whole batches. What an element makes
lies in `.unfinished` until it is whole. As long as that folder is there, the output is not: it
also tells apart what a process that was killed has left.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from components import durable_files
from components.errors import PipelineError, after, is_for_user, one_line
from components.example_gen.rejection import Rejection
from components.repeating import repeating
from pipeline.engines.submission import submitted
from pipeline.progress import Progress

SKIPPED = "skipped.jsonl"


class Job(NamedTuple):
    """One input file, and where what is made of it goes."""

    number: int
    source: str
    name: str  # of the input below its folder, `train/00000.tfrecord.gz`
    folder: str  # of the output
    stem: str  # with which the names of its output files begin, `00000`
    unfinished: str

    def attempt(self) -> Path:
        """A new file to write to; Beam may run a job twice at once."""
        return Path(durable_files.attempt(Path(self.unfinished, "files")))


@dataclass
class Result:
    """What became of a file."""

    images: int = 0
    files: list[str] = field(default_factory=list)  # names of what was made
    skipped: list[dict[str, Any]] = field(default_factory=list)  # of each a `Rejection`


@dataclass
class Summary:
    """What became of all of them.

    Attributes:
        images: written.
        files: written.
        skipped: records that were left out.
        skipped_example: the first of them, and why.
        seconds: all of it took, loading of the model included.
        note: what there is to say about the release that was used.
    """

    images: int
    files: int
    skipped: int
    skipped_example: str
    seconds: float
    note: str = ""


def find_jobs(
    data: Path, out: Path, is_input: Callable[[str], bool], suffixes: Sequence[str], expected: str
) -> list[Job]:
    """One job for each input file in a folder or below it, in order.

    Args:
        data: folder; hidden files and folders in it are passed over.
        out: folder that gets the same subfolders.
        is_input: whether a name is one of an input file.
        suffixes: endings to take off for the stem, the first that fits.
        expected: what there should be, for the message.

    Raises:
        PipelineError: there is no such folder, nothing in it, or it is itself unfinished.
    """
    if not data.is_dir():
        raise PipelineError(f"{data}: no such folder")
    if (data / durable_files.UNFINISHED).exists():
        raise PipelineError(f"{data}: is unfinished; make it again")
    names = []
    for folder, folders, files in os.walk(data):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        names += [Path(folder, name).relative_to(data) for name in sorted(files) if is_input(name)]
    if not names:
        raise PipelineError(f"{data}: holds no {expected}")
    stems = [name.with_name(_stem(name.name, suffixes)) for name in names]
    doubled = {stem for stem, count in Counter(stems).items() if count > 1}
    return [
        Job(
            index,
            str(data.absolute() / name),
            name.as_posix(),
            str(out.absolute() / name.parent),
            name.name if stem in doubled else stem.name,
            str(out.absolute() / durable_files.UNFINISHED),
        )
        for index, (name, stem) in enumerate(zip(names, stems, strict=True))
    ]


def run(
    jobs: Sequence[Job], work: beam.DoFn, out: Path, beam_args: Sequence[str], progress: Progress
) -> Summary:
    """Runs `work` on every job; the output is whole when this returns, and gone if it raises.

    Args:
        jobs: what to do.
        work: its `process` does one job, inside `reported`.
        out: new or empty folder.
        beam_args: of the runner; by default Beam runs in this process. Workers elsewhere need
            this package, and to see input, output and release under the same paths.
        progress: told of every file.

    Raises:
        PipelineError: `out` is not empty, or what stopped a job.
    """
    started = time.monotonic()
    with _output(out) as unfinished, _watched(unfinished, len(jobs), progress):
        try:
            with (
                submitted(beam_args, type(work).__name__) as arguments,
                beam.Pipeline(options=PipelineOptions(arguments)) as pipeline,
            ):
                _ = (
                    pipeline
                    | "Files" >> beam.Create(list(jobs))
                    | "Spread" >> beam.Reshuffle()
                    | "Work" >> beam.ParDo(work)
                )
        except Exception as error:
            # Runners wrap what a worker raised, or tell its traceback; the worker has left its
            # message.
            messages: list[str] = []
            with after(error, "the message of the worker cannot be read"):
                for path in sorted((unfinished / "failed").iterdir()):
                    messages.append(path.read_text(encoding="utf-8", errors="surrogateescape"))
            # Empty is that of a worker whose disk was full.
            for message in filter(None, messages):
                raise PipelineError(message) from error
            raise
        results = [Result(**json.loads(_result(job).read_text(encoding="utf-8"))) for job in jobs]
        skipped = [Rejection(**each) for result in results for each in result.skipped]
        if skipped:
            lines = "".join(f"{each.to_json()}\n" for each in skipped)
            # A name that is no UTF-8 becomes an escape of JSON's.
            (out / SKIPPED).write_text(lines, encoding="utf-8", errors="backslashreplace")
    return Summary(
        images=sum(result.images for result in results),
        files=sum(len(result.files) for result in results),
        skipped=len(skipped),
        skipped_example=str(skipped[0]) if skipped else "",
        seconds=time.monotonic() - started,
    )


@contextlib.contextmanager
def reported(job: Job) -> Iterator[Result]:
    """Yields the result to fill in; leaves it, or why there is none, where `run` finds it."""
    result = Result()
    try:
        yield result
    except Exception as error:
        text = one_line(error) if is_for_user(error) else f"{job.source}: {one_line(error)}"
        with after(error, "it cannot be told to the others"):
            note = Path(job.unfinished, "failed", f"{job.number:06d}")
            note.write_text(text, encoding="utf-8", errors="surrogateescape")
        raise
    attempt = job.attempt()
    attempt.write_text(json.dumps(asdict(result)), encoding="utf-8")
    os.replace(attempt, _result(job))


def finish(job: Job, attempt: Path, name: str, result: Result) -> None:
    """Gives a whole file its name."""
    os.replace(attempt, Path(job.folder, name))
    result.files.append(name)


def _stem(name: str, suffixes: Sequence[str]) -> str:
    return next((name.removesuffix(suffix) for suffix in suffixes if name.endswith(suffix)), name)


def _result(job: Job) -> Path:
    return Path(job.unfinished, "results", f"{job.number:06d}")


@contextlib.contextmanager
def _output(out: Path) -> Iterator[Path]:
    """Makes the folder of unfinished files in `out`; takes all of it away again after an error."""
    made = not out.exists()
    unfinished = out / durable_files.UNFINISHED
    try:
        if not made and (there := sorted(os.listdir(out))):
            if there[0] == durable_files.UNFINISHED:
                raise PipelineError(f"{out}: was left unfinished; remove it, or name a new folder")
            raise PipelineError(f"{out}: is not empty, it holds {there[0]}; name a new folder")
        for name in ("files", "results", "failed"):
            (unfinished / name).mkdir(parents=True)
    except OSError as error:
        raise PipelineError(f"{out}: cannot be written: {error.strerror or error}") from error
    try:
        yield unfinished
    except BaseException as failure:
        with after(failure, f"unfinished files are left in {out}"):
            for entry in out.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink(missing_ok=True)
            if made:
                out.rmdir()
        raise
    shutil.rmtree(unfinished)


def _watched(unfinished: Path, total: int, progress: Progress) -> AbstractContextManager[None]:
    """Tells how many files are done, which only the file system knows while Beam runs."""

    def look() -> None:
        with contextlib.suppress(OSError):
            progress("files", len(os.listdir(unfinished / "results")), total)

    return repeating(look, 0.5)
