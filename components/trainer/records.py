"""Examples that Transform and the Tokenizer wrote: their parsers, and facts among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from components import contents, features
from components.errors import PipelineError
from components.features import Pixels
from components.record_files import read_records
from components.stored_images import Parse, parser
from models.config import ImageShape

Batch = dict[str, tf.Tensor]


def parse_images(shape: ImageShape, pixels: Pixels = "stored") -> Parse:
    """Parser of transformed Examples: `image` uint8 `[N, H, W, C]`, `label` int32 `[N]`."""
    stored = parser(shape.hwc, pixels)

    def parse(serialized):
        parsed = stored(serialized)
        return {**parsed, features.LABEL: tf.cast(parsed[features.LABEL], tf.int32)}

    return parse


def parse_codes(code_shape: tuple[int, ...], num_codes: int) -> Parse:
    """Parser of the Tokenizer's Examples: `codes` int32 `[N, *code_shape]`, `label` int32 `[N]`.

    It raises tf.errors.InvalidArgumentError, when run, for codes of another shape or type.
    """
    dtype = features.code_dtype(num_codes)

    def parse(serialized):
        spec = {
            features.CODES: tf.io.FixedLenFeature([], tf.string),
            features.LABEL: tf.io.FixedLenFeature([], tf.int64),
        }
        example = tf.io.parse_example(serialized, spec)
        held = example[features.CODES]
        codes = tf.cast(tf.io.decode_raw(held, dtype), tf.int32)
        return {
            features.CODES: tf.reshape(codes, [tf.shape(held)[0], *code_shape]),
            features.LABEL: tf.cast(example[features.LABEL], tf.int32),
        }

    return parse


def read_num_classes(patterns: Sequence[str]) -> int:
    """Number of classes, largest label + 1; 0 without labels. The Tokenizer counted them."""
    return contents.of_split(patterns[0]).num_classes


def read_pixel_variance(patterns: Sequence[str]) -> float:
    """Variance of pixel / 255 around each channel's mean, averaged over the channels."""
    sums = contents.of_split(patterns[0]).pixels
    variance = float(np.mean(sums.variance)) if sums else 0.0
    if not variance > 0.0:
        raise PipelineError(
            "the training images are all alike (pixel variance 0), there is nothing to learn; "
            "check the data set"
        )
    return variance


def first_record(files: Iterable[str]) -> tf.Tensor:
    """The first serialized Example, string []. PipelineError if there is none."""
    for file in files:
        for record in read_records(file).take(1):
            return record
    raise PipelineError(f"no records in {', '.join(files)}")
