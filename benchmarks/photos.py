"""Photographs of several sizes, as the TFRecords that a pipeline is given."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

from components import features

_FILES = 4
_QUALITY = {"JPEG": {"quality": 85}, "PNG": {}}


class Kind(NamedTuple):
    """A data set of photographs, and what becomes of them."""

    wide: int
    high: int
    format: str
    target: int  # height and width
    few: int  # images of the small run
    many: int  # of the large one


def write(kind: Kind, count: int, folder: Path) -> None:
    """Crops of two photographs, half of them held out, of ten classes."""
    photos = [Image.fromarray(each) for each in load_sample_images().images]
    random = np.random.default_rng(0)
    writers: dict[str, tf.io.TFRecordWriter] = {}
    for number in range(count):
        split = "train" if number % 2 else "eval"
        name = f"{split}/{number // 2 % _FILES}.tfrecord"
        if name not in writers:
            (folder / split).mkdir(parents=True, exist_ok=True)
            writers[name] = tf.io.TFRecordWriter(str(folder / name))
        encoded = io.BytesIO()
        _crop(photos[number // 2 % 2], kind, random).save(
            encoded, kind.format, **_QUALITY[kind.format]
        )
        example = tf.train.Example()
        example.features.feature[features.IMAGE].bytes_list.value.append(encoded.getvalue())
        example.features.feature[features.LABEL].int64_list.value.append(number // 2 % 10)
        writers[name].write(example.SerializeToString())
    for writer in writers.values():
        writer.close()


def _crop(photo: Image.Image, kind: Kind, random: np.random.Generator) -> Image.Image:
    scale = random.uniform(0.5, 1.0) * min(photo.width / kind.wide, photo.height / kind.high)
    wide, high = int(kind.wide * scale), int(kind.high * scale)
    left = int(random.integers(photo.width - wide + 1))
    top = int(random.integers(photo.height - high + 1))
    box = (left, top, left + wide, top + high)
    return photo.resize((kind.wide, kind.high), Image.Resampling.BICUBIC, box)
