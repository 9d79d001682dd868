"""What a maker knows of the images it is about to write."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage

from pipeline.config.config import ConfigError
from pipeline.user_path import expanded

TRAIN, EVAL = "train", "eval"

# Called as work goes on with what is being done, how many images are through, and of how many
# (None while that is unknown).
Progress = Callable[[str, int, int | None], None]


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


def open_source(name: str, source: Path | None, progress: Progress) -> Source:
    """Finds the images that `name` and `source` stand for.

    Args:
        name: `digits`, `fashion-mnist`, `idx`, `folder` or `tfds:NAME`.
        source: folder to read from, for the names that read one.
        progress: told of the reading where it takes time.

    Raises:
        ConfigError: when the name is unknown, the source is missing or is not what `name` reads.
    """
    if source is not None and name != "digits":
        source = Path(expanded(str(source)))
        if not source.is_dir():
            raise ConfigError(f"--source {source}: no such folder")
    if name == "digits":
        from pipeline.datasets import digits

        if source is not None:
            raise ConfigError("digits are embedded and read no --source; leave it out")
        return digits.open_digits()
    if name == "fashion-mnist":
        from pipeline.datasets import idx

        return idx.open_fashion_mnist(source, progress)
    if name == "idx":
        from pipeline.datasets import idx

        return idx.open_idx(_required(name, source), progress)
    if name == "folder":
        from pipeline.datasets import folder

        return folder.open_folder(_required(name, source), progress)
    if name.startswith("tfds:") and name != "tfds:":
        from pipeline.datasets import tfds

        return tfds.open_tfds(name.removeprefix("tfds:"), source)
    raise ConfigError(
        f"unknown data set {name!r}; known: digits, fashion-mnist, idx, folder, tfds:NAME"
    )


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG of uint8 pixels [H, W] or [H, W, C] with C = 1, 3 or 4."""
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _required(name: str, source: Path | None) -> Path:
    if source is None:
        raise ConfigError(f"{name} reads a folder: name it with --source DIR")
    return source
