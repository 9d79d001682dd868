"""What a maker gives: the images of a data set, and what is known of them beforehand."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage

TRAIN, EVAL = "train", "eval"


class LabelledImage(NamedTuple):
    """One image on its way into a data set."""

    encoded: bytes  # PNG or JPEG
    label: int | None
    height: int  # pixels
    width: int
    source: bytes = b""  # name of the file that it was read from, where it has one of its own


class LeftOut(NamedTuple):
    """A file that does not become an image of the data set."""

    file: str  # below the folder that is read
    reason: str
    is_image: bool  # or was one, before it was damaged


@dataclass(frozen=True)
class Source:
    """Images of one origin; they are produced as they are asked for, never all at once."""

    name: str
    # Hash of all that the written records depend on: equal fingerprints, equal records.
    fingerprint: str
    # Split -> number of images.
    counts: Mapping[str, int]
    # Split -> its images, always in the same order.
    images: Callable[[str], Iterator[LabelledImage]]
    # The name of label i at place i, where the source names its labels.
    label_names: tuple[str, ...] | None = None
    # How many files were left out because they are no readable images, and the first of them,
    # of those that never were images if there are any.
    skipped_files: int = 0
    skipped_example: str = ""
    # How many of them are damaged images.
    damaged_files: int = 0
    # All of them, damaged images first.
    left_out: Callable[[], Iterator[LeftOut]] = lambda: iter(())


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG of uint8 pixels [H, W] or [H, W, C] with C = 1, 3 or 4."""
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
