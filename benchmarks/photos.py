"""Photographs of several sizes, as the TFRecords that a pipeline is given."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

from pipeline.datasets.tfrecord import encode_example

# Different pictures; after them they begin anew.
_DIFFERENT = 2500
_QUALITY = {"JPEG": {"quality": 85}, "PNG": {}}


class Kind(NamedTuple):
    """Photographs of one size, and what becomes of them."""

    wide: int
    high: int
    format: str
    target: int  # height and width


def write(kind: Kind, count: int, folder: Path, held_out: int = 2, files: int = 4) -> None:
    """Crops of two photographs, of ten classes, one in `held_out` in the split `eval`.

    Each split has so many files.
    """
    photos = [Image.fromarray(each) for each in load_sample_images().images]
    random = np.random.default_rng(0)
    encoded: list[bytes] = []
    writers: dict[str, tf.io.TFRecordWriter] = {}
    for number in range(count):
        split = "train" if number % held_out else "eval"
        name = f"{split}/{number // held_out % files}.tfrecord"
        if name not in writers:
            (folder / split).mkdir(parents=True, exist_ok=True)
            writers[name] = tf.io.TFRecordWriter(str(folder / name))
        if number < _DIFFERENT:
            picture = io.BytesIO()
            crop = _crop(photos[number // held_out % 2], kind, random)
            crop.save(picture, kind.format, **_QUALITY[kind.format])
            encoded.append(picture.getvalue())
        label = number // held_out % 10
        writers[name].write(encode_example(encoded[number % _DIFFERENT], label))
    for writer in writers.values():
        writer.close()


def _crop(photo: Image.Image, kind: Kind, random: np.random.Generator) -> Image.Image:
    scale = random.uniform(0.5, 1.0) * min(photo.width / kind.wide, photo.height / kind.high)
    wide, high = int(kind.wide * scale), int(kind.high * scale)
    left = int(random.integers(photo.width - wide + 1))
    top = int(random.integers(photo.height - high + 1))
    box = (left, top, left + wide, top + high)
    return photo.resize((kind.wide, kind.high), Image.Resampling.BICUBIC, box)
