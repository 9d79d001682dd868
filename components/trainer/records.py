"""Examples that Transform and the Tokenizer wrote: their parsers, and facts among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from components import features
from components.errors import PipelineError
from models.config import ImageShape

Batch = dict[str, tf.Tensor]
Parse = Callable[[tf.Tensor], Batch]


def parse_images(shape: ImageShape) -> Parse:
    """Parser of transformed Examples: `image` uint8 `[N, H, W, C]`, `label` int32 `[N]`."""

    def parse(serialized):
        spec = {
            features.IMAGE: tf.io.FixedLenFeature([], tf.string),
            features.LABEL: tf.io.FixedLenFeature([], tf.int64),
        }
        example = tf.io.parse_example(serialized, spec)
        pixels = tf.io.decode_raw(example[features.IMAGE], tf.uint8, fixed_length=shape.size)
        return {
            features.IMAGE: tf.reshape(pixels, [-1, *shape.hwc]),
            features.LABEL: tf.cast(example[features.LABEL], tf.int32),
        }

    return parse


def parse_codes(code_shape: tuple[int, ...], num_codes: int) -> Parse:
    """Parser of the Tokenizer's Examples: `codes` int32 `[N, *code_shape]`, `label` int32 `[N]`."""
    dtype = features.code_dtype(num_codes)
    length = math.prod(code_shape) * dtype.itemsize

    def parse(serialized):
        spec = {
            features.CODES: tf.io.FixedLenFeature([], tf.string),
            features.LABEL: tf.io.FixedLenFeature([], tf.int64),
        }
        example = tf.io.parse_example(serialized, spec)
        codes = tf.io.decode_raw(example[features.CODES], dtype, fixed_length=length)
        return {
            features.CODES: tf.reshape(tf.cast(codes, tf.int32), [-1, *code_shape]),
            features.LABEL: tf.cast(example[features.LABEL], tf.int32),
        }

    return parse


def read_num_classes(patterns: Sequence[str]) -> int:
    """Number of classes, largest label + 1; 0 without labels. Transform's analyzers found it."""
    spec = {features.NUM_CLASSES: tf.io.FixedLenFeature([], tf.int64)}
    record = first_record(find_files(patterns))
    return int(tf.io.parse_single_example(record, spec)[features.NUM_CLASSES])


def read_pixel_variance(patterns: Sequence[str]) -> float:
    """Variance of pixel / 255 around each channel's mean, averaged over the channels."""
    spec = {features.PIXEL_VARIANCE: tf.io.FixedLenSequenceFeature([], tf.float32, True)}
    record = first_record(find_files(patterns))
    channels = tf.io.parse_single_example(record, spec)[features.PIXEL_VARIANCE]
    variance = float(tf.reduce_mean(channels))
    if not variance > 0.0:
        raise PipelineError(
            "the training images are all alike (pixel variance 0), there is nothing to learn; "
            "check the data set"
        )
    return variance


def find_files(patterns: Sequence[str]) -> list[str]:
    """Files of file patterns, in order. PipelineError if there are none."""
    files = sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern))
    if not files:
        raise PipelineError(f"no files match {', '.join(patterns)}")
    return files


def first_record(files: Sequence[str]) -> tf.Tensor:
    """The first serialized Example, string []. PipelineError if there is none."""
    for record in read_records(files).take(1):
        return record
    raise PipelineError(f"no records in {', '.join(files)}")


def read_records(files) -> tf.data.Dataset:
    """Serialized Examples of gzip TFRecords, file after file."""
    return tf.data.TFRecordDataset(files, compression_type="GZIP")
