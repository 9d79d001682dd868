"""What the records of an Examples artifact are, written beside them by whoever wrote them.

The file `contents.json` of an artifact spares everybody else a pass over its records: how many
there are, how long, of which classes, and the sums that mean and variance of the pixels follow
from. All of it adds up: two parts of a split make the contents of both.
"""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Iterable

import google_crc32c
import numpy as np
import tensorflow as tf
from pydantic import BaseModel
from tfx.dsl.io import fileio

from components import features
from components.errors import PipelineError
from components.features import Pixels

FILE = "contents.json"
# Labels of a split that are counted; numbers that are no classes may be as many as records.
_MOST_LABELS = 10_000
# Rows of pixels that are added up in float32, several times as fast as anything wider: so many
# squares of 255 stay below 2^24, up to where whole numbers are exact.
_ROWS = 256
# What a TFRecord file has around a record: its length, and two checksums.
_FRAME_BYTES = 16


class FileContents(BaseModel):
    """One file of a split."""

    records: int = 0
    # Bytes of its records together, and of the longest.
    total_bytes: int = 0
    longest: int = 0
    # Of all its records, one after the other.
    crc32c: int = 0

    def add(self, record: bytes) -> None:
        """Counts a record that is written."""
        self.records += 1
        self.total_bytes += len(record)
        self.longest = max(self.longest, len(record))
        self.crc32c = google_crc32c.extend(self.crc32c, record)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.total_bytes + self.records * _FRAME_BYTES


class PixelSums(BaseModel):
    """Exact sums over images, for each channel."""

    pixels: int
    total: list[int]
    squares: list[int]

    @classmethod
    def of(cls, images: np.ndarray) -> PixelSums:
        """Of uint8 `[N, H, W, C]`."""
        channels = images.shape[-1]
        rows = images.reshape(-1, images.shape[-2] * channels)
        total, squares = (np.zeros(rows.shape[1]) for _ in range(2))
        for start in range(0, len(rows), _ROWS):
            wide = rows[start : start + _ROWS].astype(np.float32)
            total += np.ones(len(wide), np.float32).dot(wide)
            squares += np.einsum("nc,nc->c", wide, wide)
        return cls(
            pixels=images.size // channels,
            total=_whole(total.reshape(-1, channels).sum(axis=0)),
            squares=_whole(squares.reshape(-1, channels).sum(axis=0)),
        )

    def __add__(self, other: PixelSums) -> PixelSums:
        return PixelSums(
            pixels=self.pixels + other.pixels,
            total=[a + b for a, b in zip(self.total, other.total, strict=True)],
            squares=[a + b for a, b in zip(self.squares, other.squares, strict=True)],
        )

    @property
    def mean(self) -> list[float]:
        """Of pixel / 255, float32 for each channel."""
        return [float(np.float32(total / self.pixels / 255.0)) for total in self.total]

    @property
    def variance(self) -> list[float]:
        """Of pixel / 255 around the channel's mean, float32 for each channel."""
        found = []
        for total, squares in zip(self.total, self.squares, strict=True):
            mean = total / self.pixels
            variance = max(squares / self.pixels - mean * mean, 0.0)
            found.append(float(np.float32(variance / 255.0**2)))
        return found


class SplitContents(BaseModel):
    """One split."""

    # Name of a file, without its folder -> what is in it.
    files: dict[str, FileContents] = {}
    # Label -> records, NO_LABEL for those without; None: not counted, or more than are counted.
    labels: dict[int, int] | None = {}
    # The largest label; NO_LABEL where no record has one.
    largest_label: int = features.NO_LABEL
    # Where the records are images.
    pixels: PixelSums | None = None

    @property
    def records(self) -> int:
        return sum(file.records for file in self.files.values())

    @property
    def num_classes(self) -> int:
        """Largest label + 1; 0 without labels."""
        return self.largest_label + 1

    def count_labels(self, labels: np.ndarray) -> None:
        """Adds the labels of records, int64 `[N]`, to what is known."""
        if not len(labels):
            return
        found, counts = np.unique(labels, return_counts=True)
        self.largest_label = max(self.largest_label, int(found[-1]))
        self._add_labels(dict(zip(found.tolist(), counts.tolist(), strict=True)))

    def __add__(self, other: SplitContents) -> SplitContents:
        sums = [each.pixels for each in (self, other) if each.pixels is not None]
        merged = SplitContents(
            files=self.files | other.files,
            labels=self.labels,
            largest_label=max(self.largest_label, other.largest_label),
            pixels=sum(sums[1:], sums[0]) if sums else None,
        )
        merged._add_labels(other.labels)
        return merged

    def _add_labels(self, counts: dict[int, int] | None) -> None:
        if self.labels is None or counts is None:
            self.labels = None
            return
        together = Counter(self.labels) + Counter(counts)
        self.labels = dict(sorted(together.items())) if len(together) <= _MOST_LABELS else None


class Contents(BaseModel):
    """One Examples artifact."""

    splits: dict[str, SplitContents] = {}
    # Of transformed images, how their records hold them.
    pixels: Pixels = "stored"

    def write(self, uri: str) -> None:
        """Writes it into the artifact's folder, local or at a URI."""
        with fileio.open(os.path.join(uri, FILE), "w") as file:
            file.write(self.model_dump_json(indent=1))


def _whole(numbers: np.ndarray) -> list[int]:
    return [int(number) for number in numbers]


def read(uri: str) -> Contents:
    """Reads what an artifact holds.

    Raises:
        PipelineError: there is no such file, or it is not whole.
    """
    path = os.path.join(uri, FILE)
    try:
        with fileio.open(path) as file:
            return Contents.model_validate_json(file.read())
    except (OSError, ValueError, fileio.NotFoundError, tf.errors.OpError) as error:
        raise PipelineError(
            f"{path} is missing or damaged; have the component that made it run again"
        ) from error


def artifact_of(pattern: str) -> str:
    """The artifact of a Trainer's file pattern, `<artifact>/Split-<name>/*`."""
    return os.path.dirname(os.path.dirname(pattern))


def of_split(pattern: str) -> SplitContents:
    """What the split of a Trainer's file pattern holds.

    Raises:
        PipelineError: the artifact does not tell.
    """
    uri = artifact_of(pattern)
    split = os.path.basename(os.path.dirname(pattern)).removeprefix("Split-")
    found = read(uri).splits.get(split)
    if found is None:
        raise PipelineError(f"{os.path.join(uri, FILE)} knows no split {split!r}")
    return found


def files(patterns: Iterable[str]) -> dict[str, FileContents]:
    """The files of a Trainer's patterns, `<artifact>/Split-<name>/*`, and what each holds.

    TensorFlow takes a file that ends between two records for a whole one, so sizes are compared.

    Raises:
        PipelineError: the artifact does not tell, or its files are not those that it tells of.
    """
    found: dict[str, FileContents] = {}
    for pattern in patterns:
        folder, wanted = os.path.split(pattern)
        known = {
            os.path.join(folder, name): file
            for name, file in of_split(pattern).files.items()
            if fnmatch.fnmatchcase(name, wanted)
        }
        there = set(fileio.glob(pattern))
        if not known:
            raise PipelineError(f"{pattern}: the split is empty; give it records")
        if there != known.keys():
            raise PipelineError(
                f"{pattern}: {len(there)} files, where {FILE} tells of {len(known)}; have the "
                "component that made them run again"
            )
        found |= known
    for path, file in found.items():
        if (size := tf.io.gfile.stat(path).length) != file.size:
            raise PipelineError(
                f"{path} is damaged: it has {size:,} bytes instead of {file.size:,}; have the "
                "component that made it run again"
            )
    return dict(sorted(found.items()))


def merged(parts: Iterable[SplitContents]) -> SplitContents:
    """The sum of parts of one split, their files in order of their names."""
    total = SplitContents()
    for part in parts:
        total += part
    total.files = dict(sorted(total.files.items()))
    return total
