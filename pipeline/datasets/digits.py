"""The handwritten digits that scikit-learn carries: 1,797 gray images of 8×8, no download."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from pipeline.datasets.source import EVAL, TRAIN, LabelledImage, Source, encode_png


def open_digits() -> Source:
    """Every tenth image of each digit is held out, so both splits hold all ten evenly."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # 0..16 in the source -> 0..255
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # [1797, 8, 8]
    labels = bunch.target.astype(np.int64)
    held_out = np.zeros(len(labels), bool)
    for digit in range(10):
        held_out[np.flatnonzero(labels == digit)[::10]] = True
    chosen = {TRAIN: np.flatnonzero(~held_out), EVAL: np.flatnonzero(held_out)}

    def images(split: str) -> Iterator[LabelledImage]:
        for index in chosen[split]:
            yield LabelledImage(encode_png(pixels[index]), int(labels[index]), 8, 8)

    digest = hashlib.sha256(pixels.tobytes() + labels.astype("<i8").tobytes())
    return Source(
        name="digits",
        fingerprint=digest.hexdigest(),
        counts={split: len(indices) for split, indices in chosen.items()},
        records=images,
        label_names=tuple(str(digit) for digit in range(10)),
    )
