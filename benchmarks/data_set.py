"""What the benchmarks of quality train on: a data set as the records that a Trainer reads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from benchmarks import fashion_mnist
from components import features
from components.record_files import read_records
from components.stored_images import parser
from components.trainer.records import parse_images
from components.trainer.source import Source
from models.config import ImageShape
from tests.fixtures.examples import write_images

_COLOUR = Path("data/cifar10")


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Images in memory, training and held out.

    Attributes:
        image: their shape.
        images: split -> uint8 `[N, H, W, C]`.
        labels: split -> int64 `[N]`.
    """

    image: ImageShape
    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]

    @property
    def variance(self) -> float:
        """Of pixel / 255 around each channel's mean, over the training images."""
        scaled = self.images["train"] / np.float32(255.0)
        return float(np.mean(np.var(scaled, axis=(0, 1, 2), dtype=np.float64)))

    def first(self, counts: dict[str, int]) -> DataSet:
        """With the first images alone of the splits that are named."""

        def cut(arrays):
            return {split: each[: counts.get(split)] for split, each in arrays.items()}

        return DataSet(self.image, cut(self.images), cut(self.labels))

    def sources(self, folder: Path) -> dict[str, Source]:
        """Its splits as Trainer input, in memory; their records are written to `folder`."""
        parse = parse_images(self.image)
        return {
            split: Source(write_images(folder, split, images, self.labels[split]), parse, 2**30)
            for split, images in self.images.items()
        }


def clothing() -> DataSet:
    """60,000 and 10,000 pictures of clothing, 28×28, from Debian's `dataset-fashion-mnist`."""
    names = {"train": "train", "eval": "t10k"}
    return DataSet(
        fashion_mnist.IMAGE,
        {split: fashion_mnist.images(name) for split, name in names.items()},
        {split: fashion_mnist.labels(name) for split, name in names.items()},
    )


def colour() -> DataSet:
    """50,000 and 10,000 pictures of ten classes, 32×32×3, as `vqvae data` wrote them."""
    image = ImageShape(height=32, width=32, channels=3)
    parse = parser(image.hwc, "encoded")
    images, labels = {}, {}
    for split in ("train", "eval"):
        files = sorted(str(path) for path in (_COLOUR / split).glob("*"))
        if not files:
            raise SystemExit(
                f"{_COLOUR}/{split} is missing: `vqvae data cifar10 {_COLOUR} --source DIR` writes "
                "it from the binary version of CIFAR-10"
            )
        batches = list(read_records(files).batch(512).map(parse).as_numpy_iterator())
        images[split], labels[split] = (
            np.concatenate([batch[name] for batch in batches])
            for name in (features.IMAGE, features.LABEL)
        )
    return DataSet(image, images, labels)
