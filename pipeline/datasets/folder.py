"""A folder of files of one kind, with a subfolder per class where there are classes.

Damaged files and those of other kinds are left out, and listed. `train/` beside `eval/`, `val/`,
`validation/` or `test/` is taken as the split; otherwise a tenth is held out by the hash of the
file's bytes, so that a duplicate never sits on both sides and a new file moves no other.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path

from components.literal_paths import is_text
from pipeline.config.config import ConfigError
from pipeline.datasets.file_kind import FileKind, Seen
from pipeline.datasets.in_order import in_order
from pipeline.datasets.source import EVAL, TRAIN, LeftOut, Record, Source
from pipeline.progress import Progress

LOGGER = logging.getLogger(__name__)

_HELD_OUT = ("eval", "val", "validation", "test")  # the first that is there


def open_folder(root: Path, kind: FileKind, progress: Progress) -> Source:
    """Reads through the folder once and describes it.

    Raises:
        ConfigError: when there are fewer than two such files, or classes cannot be told.
    """
    # An unnamed SQLite database lives in a file that is deleted already: a folder of millions
    # of files takes no more memory than a small one, and is read back in shuffled order.
    index = sqlite3.connect("")
    index.execute("CREATE TABLE files (split TEXT, hash BLOB, path BLOB, label INT, measures TEXT)")
    index.execute("CREATE TABLE left_out (path BLOB, reason TEXT, damaged INT)")
    splits = _splits(root)
    label_names = _classes(splits)
    # The records have had the name of their file for some time only, and are others since.
    digest = hashlib.sha256(b"source\0" + repr(label_names).encode())
    count = 0
    for (split, path, label), seen in _look_at_all(_walk(splits, label_names or ()), kind):
        name = os.fsencode(path.relative_to(root))
        if seen.measures is None:
            left_out = (name, seen.reason, seen.damaged)
            index.execute("INSERT INTO left_out VALUES (?, ?, ?)", left_out)
            continue
        if label is None and label_names:
            raise ConfigError(
                f"{path}: lies beside the class folders {label_names[0]}, …: "
                "move it into the folder of its class"
            )
        digest.update(name + b"\0" + seen.content)
        held_out = seen.content[0] * 10 < 256  # a tenth
        split = split or (EVAL if held_out else TRAIN)
        values = (split, seen.content, name, label, json.dumps(seen.measures))
        index.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?)", values)
        count += 1
        progress("reading", count, None)
    skipped_files, damaged_files, skipped_example = _count_left_out(index)
    if count < 2 or (len(splits) > 1 and len(_counts(index)) < 2):
        others = (
            f" ({skipped_files} other files, such as {skipped_example})" if skipped_files else ""
        )
        raise ConfigError(
            f"{root}: holds {count} readable {kind.thing}{'s' * (count != 1)}{others}; "
            "one to train on and one to hold out are the least"
        )
    _fill_empty_split(index)
    return Source(
        name=kind.name,
        fingerprint=digest.hexdigest(),
        counts=_counts(index),
        records=lambda split: _records(index, root, split, kind),
        label_names=label_names,
        skipped_files=skipped_files,
        skipped_example=skipped_example,
        damaged_files=damaged_files,
        left_out=lambda: _left_out(index),
        summary=lambda: kind.summary(label_names),
    )


def _splits(root: Path) -> dict[str | None, Path]:
    """Split -> folder; None -> the root where it holds no split folders."""
    names = [entry.name for entry in _entries(root) if entry.is_dir()]
    if "train" in names:
        for held_out in _HELD_OUT:
            if held_out in names:
                return {TRAIN: root / "train", EVAL: root / held_out}
    return {None: root / "train" if names == ["train"] else root}


def _classes(splits: dict[str | None, Path]) -> tuple[str, ...] | None:
    folders = {
        entry.name for folder in splits.values() for entry in _entries(folder) if entry.is_dir()
    }
    for folder in sorted(folders):
        if not is_text(folder):
            LOGGER.warning(
                "the class folder %s is not UTF-8; read as Latin-1 it is called %s, and so is "
                "the class",
                ascii(os.fsencode(folder))[1:],
                _class_name(folder),
            )
    return tuple(sorted({_class_name(folder) for folder in folders})) or None


def _class_name(folder: str) -> str:
    """A folder's name as people read it: macOS writes an é as an e and an accent.

    Old archives leave Latin-1 behind, which is no UTF-8.
    """
    text = folder if is_text(folder) else os.fsencode(folder).decode("latin-1")
    return unicodedata.normalize("NFC", text)


def _walk(
    splits: dict[str | None, Path], label_names: tuple[str, ...]
) -> Iterator[tuple[str | None, Path, int | None]]:
    """Yields (split, file, label), sorted; memory is bounded by the largest single folder."""
    for split, folder in splits.items():
        for entry in _entries(folder):
            if entry.is_dir():
                label = label_names.index(_class_name(entry.name))
                for path in files_below(Path(entry.path)):
                    yield split, path, label
            else:
                yield split, Path(entry.path), None


def files_below(folder: Path, parents: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yields the files in a folder and below it, sorted, through links; none that is hidden.

    Raises:
        ConfigError: a folder cannot be read, or a link leads back to one of `parents`.
    """
    real = folder.resolve()
    if real in parents:
        raise ConfigError(f"{folder}: a link back to a folder above it; remove it")
    for entry in _entries(folder):
        if entry.is_dir():
            yield from files_below(Path(entry.path), (*parents, real))
        else:
            yield Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (e for e in entries if not e.name.startswith(".") and e.name != "__MACOSX"),
                key=lambda entry: entry.name,
            )
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from error


def _look_at_all(
    files: Iterator[tuple[str | None, Path, int | None]], kind: FileKind
) -> Iterator[tuple[tuple[str | None, Path, int | None], Seen]]:
    with warnings.catch_warnings():  # of decoders about damaged files, which are told better
        warnings.simplefilter("ignore")
        yield from in_order(lambda file: _look(file[1], kind), files)


def _look(path: Path, kind: FileKind) -> Seen:
    if not path.is_file():
        return Seen(None, reason="not a file")
    try:
        return kind.look(path)
    except PermissionError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _records(index: sqlite3.Connection, root: Path, split: str, kind: FileKind) -> Iterator[Record]:
    rows = index.execute(
        "SELECT hash, path, label, measures FROM files WHERE split = ? ORDER BY hash, path",
        (split,),
    )
    for content, name, label, measures in rows:
        path = root / os.fsdecode(name)
        data = _read(path)
        if hashlib.sha256(data).digest() != content:
            raise ConfigError(f"{path}: changed while the folder was read; run it again")
        yield kind.record(data, label, tuple(json.loads(measures)), name)


def _count_left_out(index: sqlite3.Connection) -> tuple[int, int, str]:
    """How many files, how many damaged ones among them, and a file, if possible another one."""
    counts = index.execute("SELECT COUNT(*), COUNT(NULLIF(damaged, 0)) FROM left_out").fetchone()
    example = index.execute("SELECT path FROM left_out ORDER BY damaged, rowid LIMIT 1").fetchone()
    return *counts, os.fsdecode(example[0]) if example else ""


def _left_out(index: sqlite3.Connection) -> Iterator[LeftOut]:
    """Damaged ones first, in the order in which they were met."""
    rows = index.execute("SELECT path, reason, damaged FROM left_out ORDER BY damaged DESC, rowid")
    for name, reason, damaged in rows:
        yield LeftOut(name.decode("utf-8", "backslashreplace"), reason, bool(damaged))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _counts(index: sqlite3.Connection) -> dict[str, int]:
    rows = index.execute("SELECT split, COUNT(*) FROM files GROUP BY split ORDER BY split DESC")
    return dict(rows.fetchall())


def _fill_empty_split(index: sqlite3.Connection) -> None:
    """Where there are few files, their hashes may all fall on one side."""
    for empty in {TRAIN, EVAL} - set(_counts(index)):
        index.execute(
            "UPDATE files SET split = ? WHERE hash = (SELECT MIN(hash) FROM files)", (empty,)
        )
