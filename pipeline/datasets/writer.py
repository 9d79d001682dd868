"""Writes a data set: sharded, compressed TFRecords below `train/` and `eval/`, and `dataset.json`.

Files of the source that became no record are listed in `skipped.jsonl`, if there are any.
Making the same data twice gives the same bytes. Memory is bounded by one batch of records.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from pipeline.config.config import ConfigError
from pipeline.datasets import manifest, tfrecord
from pipeline.datasets.makers import open_source
from pipeline.datasets.manifest import Manifest, Shard
from pipeline.datasets.source import EVAL, TRAIN, Record, Source
from pipeline.datasets.staging import publish, staging
from pipeline.progress import Progress
from pipeline.user_path import expanded

# A shard ends at whichever comes first. Several shards let Beam read in parallel.
RECORDS_PER_SHARD = 10_000
BYTES_PER_SHARD = 256 << 20  # of encoded images or audio
SKIPPED = "skipped.jsonl"
_NAMED = 3  # damaged files in a message


@dataclass(frozen=True)
class Dataset:
    """A data set on disk."""

    path: Path
    manifest: Manifest
    made: bool  # False when it was there already
    skipped_example: str = ""  # the first file that was passed over; see `Source`
    damaged: tuple[str, ...] = ()  # the first files that are damaged, and how
    # Split -> names of the classes that only the other split has; of one that was there already
    # it is not known.
    lacking: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def write_dataset(
    name: str,
    out: str | Path,
    source: str | Path | None = None,
    *,
    records_per_shard: int = RECORDS_PER_SHARD,
    progress: Progress = lambda stage, done, total: None,
) -> Dataset:
    """Makes the data set `name` at `out`, unless it is there.

    `out` appears in one step and complete: what is killed on the way leaves nothing there. Of
    several writers of the same data one wins and the others find it done.

    Args:
        name: of the data set, as `makers.open_source` knows it.
        out: folder to make; may exist only empty or with this very data set.
        source: folder to read, for the names that read one.
        records_per_shard: in one TFRecord file at most.
        progress: called as work goes on.

    Raises:
        ConfigError: when the source cannot be read, or `out` holds anything else.
    """
    given, out = out, Path(os.path.realpath(expanded(str(out))))
    source = None if source is None else Path(source)
    try:
        _check_place(out, given, source)
        origin = open_source(name, source, progress)
        existing = _existing(origin, out, given)
        if existing is not None:
            return existing
        with staging(out) as folder:
            description, lacking = _write(origin, folder, records_per_shard, progress)
            _list_left_out(origin, folder)
            for file, text in origin.side_files():
                (folder / file).write_text(text, encoding="utf-8")
            (folder / manifest.FILE).write_text(description.to_json(), encoding="utf-8")
            made = publish(folder, out)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{given}: the data set cannot be written: {reason}") from error
    if not made:  # another process was faster; what it made must be the same
        existing = _existing(origin, out, given)
        if existing is None:
            raise ConfigError(f"{given}: was removed while the data set was made; run it again")
        return existing
    return replace(_dataset(origin, out, description, True), lacking=lacking)


def _check_place(out: Path, given: str | Path, source: Path | None) -> None:
    """What can be refused before anything is read."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{given}: is a file; name a folder to make")
    if os.path.ismount(out) or out == Path.cwd():
        kind = "a mount point" if os.path.ismount(out) else "the current folder"
        raise ConfigError(f"{given}: is {kind}, which cannot be replaced; name a folder below it")
    if source is not None:
        real = Path(os.path.realpath(expanded(str(source))))
        if out.is_relative_to(real):
            raise ConfigError(f"{given}: lies in the source {source}; name a folder outside it")
    if out.is_dir() and (strangers := sorted(os.listdir(out))) and manifest.read(out) is None:
        raise ConfigError(
            f"{given}: holds other files, such as {strangers[0]}; name a new or empty folder"
        )


def _existing(origin: Source, out: Path, given: str | Path) -> Dataset | None:
    """The data set at `out` if it is this one; None if nothing is there."""
    if not out.is_dir() or not os.listdir(out):
        return None
    there = manifest.read(out)
    if there is None:
        raise ConfigError(f"{given}: holds other files; name a new or empty folder")
    if not there.same_data(origin.name, origin.fingerprint):
        kind = there.facts.WORDS.records
        same = f"other {kind} or another version of " if there.name == origin.name else ""
        raise ConfigError(
            f"{given}: holds {same}the data set {there.describe()}; "
            "remove that folder or name another"
        )
    if damage := there.damage(out):
        raise ConfigError(f"{given}: is damaged: {damage}; remove that folder and run again")
    return _dataset(origin, out, there, False)


def _write(
    origin: Source, folder: Path, records_per_shard: int, progress: Progress
) -> tuple[Manifest, dict[str, tuple[str, ...]]]:
    """Returns the description, and for each split the classes that only the other one has."""
    total = sum(origin.counts.values())
    shards: list[Shard] = []
    summary = origin.summary()
    labels: dict[str, set[int | None]] = {TRAIN: set(), EVAL: set()}
    done = 0
    for split in (TRAIN, EVAL):
        (folder / split).mkdir()
        stream = origin.records(split)
        for number, first in enumerate(stream):
            path = f"{split}/{number:05d}.tfrecord.gz"
            written = 0
            with tfrecord.create(folder / path) as writer:
                for record in _shard(first, stream, records_per_shard):
                    writer.write(record.example())
                    summary.add(split, record)
                    labels[split].add(record.label)
                    written += 1
                    done += 1
                    progress("writing", done, total)
            shards.append(Shard(path, written, (folder / path).stat().st_size))
    description = Manifest(
        name=origin.name,
        fingerprint=origin.fingerprint,
        records={
            split: sum(shard.records for shard in shards if shard.file.startswith(f"{split}/"))
            for split in (TRAIN, EVAL)
        },
        labelled=bool(shards) and None not in labels[TRAIN] | labels[EVAL],
        label_names=list(origin.label_names) if origin.label_names else None,
        facts=summary.facts(),
        skipped_files=origin.skipped_files,
        damaged_files=origin.damaged_files,
        shards=shards,
    )
    return description, {
        split: tuple(_class_name(label, origin.label_names) for label in sorted(missing))
        for split, other in ((TRAIN, EVAL), (EVAL, TRAIN))
        if (missing := {each for each in labels[other] - labels[split] if each is not None})
    }


def _class_name(label: int, names: tuple[str, ...] | None) -> str:
    return names[label] if names else str(label)


def _list_left_out(origin: Source, folder: Path) -> None:
    if not origin.skipped_files:
        return
    with open(folder / SKIPPED, "w", encoding="utf-8") as file:
        for each in origin.left_out():
            line = {"file": each.file, "reason": each.reason}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _dataset(origin: Source, out: Path, description: Manifest, made: bool) -> Dataset:
    damaged = (each for each in origin.left_out() if each.damaged)
    named = tuple(f"{each.file} ({each.reason})" for each in islice(damaged, _NAMED))
    return Dataset(out, description, made, origin.skipped_example, named)


def _shard(first: Record, rest: Iterator[Record], records_per_shard: int) -> Iterator[Record]:
    """`first` and as many of `rest` as fit into one shard with it."""
    size = 0
    for count, record in enumerate(chain([first], rest), start=1):
        yield record
        size += len(record.content)
        if count == records_per_shard or size >= BYTES_PER_SHARD:
            return
