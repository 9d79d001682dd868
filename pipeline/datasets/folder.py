"""A folder of image files, with a subfolder per class where there are classes.

PNG and JPEG files are written as they are; any other format that Pillow reads becomes PNG (its
first frame, upright). `train/` beside `eval/`, `val/`, `validation/` or `test/` is taken as the
split; otherwise a tenth is held out by the hash of the image's bytes, so that a duplicate never
sits on both sides and a new file moves no other.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from pipeline import image_file
from pipeline.config import ConfigError
from pipeline.datasets.source import EVAL, TRAIN, LabelledImage, Progress, Source

_HELD_OUT = ("eval", "val", "validation", "test")  # the first that is there
_KEPT = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def open_folder(root: Path, progress: Progress) -> Source:
    """Reads through the folder once and describes it.

    Raises:
        ConfigError: when there are fewer than two images, or classes cannot be told.
    """
    # An unnamed SQLite database lives in a file that is deleted already: a folder of millions
    # of images takes no more memory than a small one, and is read back in shuffled order.
    index = sqlite3.connect("")
    index.execute(
        "CREATE TABLE images (split TEXT, hash BLOB, path BLOB, label INT, height INT, width INT)"
    )
    splits = _splits(root)
    label_names = _classes(splits)
    digest = hashlib.sha256(repr(label_names).encode())
    count = skipped_files = 0
    skipped_example = ""
    for split, path, label in _walk(splits, label_names):
        size = _image_size(path)
        if size is None:
            skipped_files += 1
            skipped_example = skipped_example or str(path.relative_to(root))
            continue
        if label is None and label_names:
            raise ConfigError(
                f"{path}: lies beside the class folders {label_names[0]}, …: "
                "move it into the folder of its class"
            )
        content = hashlib.sha256(_read(path)).digest()
        digest.update(os.fsencode(path.relative_to(root)) + b"\0" + content)
        held_out = content[0] * 10 < 256  # a tenth
        values = (split or (EVAL if held_out else TRAIN), content, os.fsencode(path), label, *size)
        index.execute("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?)", values)
        count += 1
        progress("reading", count, None)
    if count < 2 or (len(splits) > 1 and len(_counts(index)) < 2):
        seen = f" ({skipped_files} other files, such as {skipped_example})" if skipped_files else ""
        raise ConfigError(
            f"{root}: holds {count} readable image{'s' * (count != 1)}{seen}; "
            "one to train on and one to hold out are the least"
        )
    _fill_empty_split(index)
    return Source(
        name="folder",
        fingerprint=digest.hexdigest(),
        counts=_counts(index),
        images=lambda split: _images(index, split),
        label_names=label_names,
        skipped_files=skipped_files,
        skipped_example=skipped_example,
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
    names = {
        _class_name(entry.name)
        for folder in splits.values()
        for entry in _entries(folder)
        if entry.is_dir()
    }
    return tuple(sorted(names)) or None


def _class_name(folder: str) -> str:
    """A folder's name as people read it: macOS writes an é as an e and an accent."""
    return unicodedata.normalize("NFC", folder)


def _walk(
    splits: dict[str | None, Path], label_names: tuple[str, ...] | None
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


def _image_size(path: Path) -> tuple[int, int] | None:
    """(height, width), or None for a file that is no image or whose format does not decode."""
    if not path.is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open(path, "rb") as file:
                kept = file.read(8).startswith(_KEPT)
                file.seek(0)
                with Image.open(file) as image:
                    if not kept:
                        image = image_file.upright(image)
                    return image.height, image.width
    except PermissionError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except image_file.UnknownRange as error:
        raise ConfigError(f"{path}: {error}") from error
    except Exception:  # Pillow's decoders raise whatever the damage leads to
        return None


def _images(index: sqlite3.Connection, split: str) -> Iterator[LabelledImage]:
    rows = index.execute(
        "SELECT hash, path, label, height, width FROM images WHERE split = ? ORDER BY hash, path",
        (split,),
    )
    for content, encoded_path, label, height, width in rows:
        path = Path(os.fsdecode(encoded_path))
        data = _read(path)
        if hashlib.sha256(data).digest() != content:
            raise ConfigError(f"{path}: changed while the folder was read; run it again")
        yield LabelledImage(image_file.png_or_jpeg(data), label, height, width)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _counts(index: sqlite3.Connection) -> dict[str, int]:
    rows = index.execute("SELECT split, COUNT(*) FROM images GROUP BY split ORDER BY split DESC")
    return dict(rows.fetchall())


def _fill_empty_split(index: sqlite3.Connection) -> None:
    """Where there are few images, their hashes may all fall on one side."""
    for empty in {TRAIN, EVAL} - set(_counts(index)):
        index.execute(
            "UPDATE images SET split = ? WHERE hash = (SELECT MIN(hash) FROM images)", (empty,)
        )
