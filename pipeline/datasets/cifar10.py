"""CIFAR-10 in its binary version, as its makers publish it (Krizhevsky 2009).

A file is 10,000 records of a label and an image: one byte, then the red, green and blue planes of
32×32 bytes each, row by row. Nothing is unpickled, which the version for Python would need.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.config.config import ConfigError
from pipeline.datasets.source import EVAL, TRAIN, LabelledImage, Source, encode_png
from pipeline.progress import Progress

LABELS = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
FILES = {
    TRAIN: tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    EVAL: ("test_batch.bin",),
}
# What the published archive unpacks to.
FOLDER = "cifar-10-batches-bin"
RECORDS = 10_000  # of each file
_SIDE, _CHANNELS = 32, 3
_RECORD_BYTES = 1 + _CHANNELS * _SIDE**2
_READ_RECORDS = 1000


def open_cifar10(folder: Path, progress: Progress) -> Source:
    """Checks the six files of `folder`, or of its subfolder `FOLDER`, and describes them.

    Raises:
        ConfigError: naming the file that is missing, damaged or no part of CIFAR-10.
    """
    if (folder / FOLDER).is_dir():
        folder /= FOLDER
    digest = hashlib.sha256()
    names = [name for split in (TRAIN, EVAL) for name in FILES[split]]
    for done, name in enumerate(names):
        progress("checking CIFAR-10", done, len(names))
        for block in _blocks(folder / name):
            digest.update(block.data)
    return Source(
        name="cifar10",
        fingerprint=digest.hexdigest(),
        counts={split: len(files) * RECORDS for split, files in FILES.items()},
        records=lambda split: _read([folder / name for name in FILES[split]]),
        label_names=LABELS,
    )


def _read(files: list[Path]) -> Iterator[LabelledImage]:
    for file in files:
        for block in _blocks(file):
            planes = block[:, 1:].reshape(-1, _CHANNELS, _SIDE, _SIDE)
            pixels = planes.transpose(0, 2, 3, 1)  # (N, 32, 32, 3)
            for image, label in zip(pixels, block[:, 0].tolist(), strict=True):
                yield LabelledImage(encode_png(np.ascontiguousarray(image)), label, _SIDE, _SIDE)


def _blocks(file: Path) -> Iterator[np.ndarray]:
    """Yields records, uint8 [N, 3073], of a file that has as many as it should."""
    try:
        size = file.stat().st_size
        if size != RECORDS * _RECORD_BYTES:
            raise ConfigError(
                f"{file}: has {size:,} bytes instead of {RECORDS * _RECORD_BYTES:,}; fetch the "
                "binary version of CIFAR-10 again"
            )
        with file.open("rb") as stream:
            while block := stream.read(_READ_RECORDS * _RECORD_BYTES):
                records = np.frombuffer(block, np.uint8).reshape(-1, _RECORD_BYTES)
                if (largest := int(records[:, 0].max())) >= len(LABELS):
                    raise ConfigError(
                        f"{file}: holds the label {largest}, where CIFAR-10 has 0 to 9; fetch its "
                        "binary version"
                    )
                yield records
    except FileNotFoundError as error:
        raise ConfigError(
            f"{file}: is missing; unpack the binary version of CIFAR-10, {FILES[TRAIN][0]} to "
            f"{FILES[EVAL][0]}, and name its folder with --source"
        ) from error
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from error
