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
    file = FASHION_MNIST / f"{split}-images-idx3-ubyte.gz"
    if not file.exists():
        raise SystemExit(
            f"{file} is missing: `apt-get install dataset-fashion-mnist` puts it there"
        )
    with gzip.open(file) as stream:
        return np.frombuffer(stream.read(), np.uint8, offset=16).reshape(-1, *IMAGE.hwc)


def source(split: str, folder: Path) -> Source:
    """A split as Trainer input, in memory; its records are written to `folder`."""
    return Source(
        write_images(folder, split, images(split)), parse_images(IMAGE), cache_bytes=2**30
    )


def variance() -> float:
    """Variance of pixel / 255 over the training images."""
    return float(np.var(images("train") / np.float32(255.0), dtype=np.float64))
