"""What a maker gives: the records of a data set, and what is known of them beforehand."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image as PillowImage

from pipeline.datasets.facts import ImageSummary, Summary
from pipeline.datasets.tfrecord import encode_example

TRAIN, EVAL = "train", "eval"


class Record(Protocol):
    """One image or utterance on its way into a data set."""

    @property
    def label(self) -> int | None: ...

    @property
    def content(self) -> bytes:
        """The image or the audio, as it is stored."""

    def example(self) -> bytes:
        """A serialized `tf.train.Example`; equal records give equal bytes."""


class LabelledImage(NamedTuple):
    """One image on its way into a data set."""

    encoded: bytes  # PNG or JPEG
    label: int | None
    height: int  # pixels
    width: int
    source: bytes = b""  # name of the file that it was read from, where it has one of its own

    @property
    def content(self) -> bytes:
        return self.encoded

    def example(self) -> bytes:
        return encode_example(self.encoded, self.label, self.source)


class LeftOut(NamedTuple):
    """A file that does not become a record of the data set."""

    file: str  # below the folder that is read
    reason: str
    damaged: bool  # of the right kind, but unusable


@dataclass(frozen=True)
class Source:
    """Records of one origin; they are produced as they are asked for, never all at once."""

    name: str
    # Hash of all that the written records depend on: equal fingerprints, equal records.
    fingerprint: str
    # Split -> number of records.
    counts: Mapping[str, int]
    # Split -> its records, always in the same order.
    records: Callable[[str], Iterator[Record]]
    # The name of label i at place i, where the source names its labels.
    label_names: tuple[str, ...] | None = None
    # How many files were left out because they are of no use, and the first of them, of those
    # that never were of the right kind if there are any.
    skipped_files: int = 0
    skipped_example: str = ""
    # How many of them are damaged.
    damaged_files: int = 0
    # All of them, damaged ones first.
    left_out: Callable[[], Iterator[LeftOut]] = lambda: iter(())
    # Collects what dataset.json says of all records.
    summary: Callable[[], Summary[Any]] = ImageSummary
    # Name -> text of further files of the data set, which are no records.
    side_files: Callable[[], Iterator[tuple[str, str]]] = lambda: iter(())


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG of uint8 pixels [H, W] or [H, W, C] with C = 1, 3 or 4."""
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
