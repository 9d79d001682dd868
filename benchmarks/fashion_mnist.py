"""Fashion-MNIST for the benchmarks, as arrays and as the records that a Trainer reads."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from components.trainer.records import parse_images
from components.trainer.source import Source
from models.config import ImageShape
from pipeline.datasets.idx import FASHION_MNIST
from tests.fixtures.examples import write_images

IMAGE = ImageShape(height=28, width=28, channels=1)


def images(split: str) -> np.ndarray:
    """The images of `train` (60,000) or `t10k` (10,000), uint8 `[N, 28, 28, 1]`."""
    return _read(f"{split}-images-idx3-ubyte.gz", header=16).reshape(-1, *IMAGE.hwc)


def labels(split: str) -> np.ndarray:
    """Their labels, 0 to 9, int64 `[N]`."""
    return _read(f"{split}-labels-idx1-ubyte.gz", header=8).astype(np.int64)


def _read(name: str, header: int) -> np.ndarray:
    file = FASHION_MNIST / name
    if not file.exists():
        raise SystemExit(
            f"{file} is missing: `apt-get install dataset-fashion-mnist` puts it there"
        )
    with gzip.open(file) as stream:
        return np.frombuffer(stream.read(), np.uint8, offset=header)


def source(split: str, folder: Path) -> Source:
    """A split as Trainer input, in memory; its records are written to `folder`."""
    return Source(
        write_images(folder, split, images(split)), parse_images(IMAGE), cache_bytes=2**30
    )


def variance() -> float:
    """Variance of pixel / 255 over the training images."""
    return float(np.var(images("train") / np.float32(255.0), dtype=np.float64))
