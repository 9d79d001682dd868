"""Images that are known by a number: records of them in files, and the numbers of batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from components import features
from models.config import ImageShape

SHAPE = ImageShape(height=4, width=6, channels=1)


def write(folder: Path, numbers, files: int = 1, shape: ImageShape = SHAPE) -> list[str]:
    """Images whose first pixel, and whose label, is their number, spread over files."""
    paths = []
    for index, part in enumerate(np.array_split(np.asarray(numbers), files)):
        paths.append(str(folder / f"part-{index:02d}.gz"))
        with tf.io.TFRecordWriter(paths[-1], "GZIP") as writer:
            for number in part:
                image = np.zeros(shape.hwc, "uint8")
                image[0, 0, 0] = number
                example = tf.train.Example()
                example.features.feature[features.IMAGE].bytes_list.value.append(image.tobytes())
                example.features.feature[features.LABEL].int64_list.value.append(number)
                writer.write(example.SerializeToString())
    return paths


def numbers(dataset: tf.data.Dataset, elements: int) -> np.ndarray:
    """Those of the first batches, one after the other."""
    return np.concatenate([batch["label"].numpy() for batch in dataset.take(elements)])
