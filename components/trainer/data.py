"""Training data: parsed once into memory where it fits, streamed where it does not.

The order of the images is a function of the seed and the step alone, so that a training that
was interrupted goes on with exactly the batch that it would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from components import features
from components.errors import PipelineError
from models.config import ImageShape

Batch = dict[str, tf.Tensor]
Parse = Callable[[tf.Tensor], Batch]

_READ_BATCH = 1024
_SHUFFLE_BUFFER = 16_384


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
    return int(tf.io.parse_single_example(_first(patterns), spec)[features.NUM_CLASSES])


def read_pixel_variance(patterns: Sequence[str]) -> float:
    """Variance of pixel / 255 around each channel's mean, averaged over the channels."""
    spec = {features.PIXEL_VARIANCE: tf.io.FixedLenSequenceFeature([], tf.float32, True)}
    channels = tf.io.parse_single_example(_first(patterns), spec)[features.PIXEL_VARIANCE]
    variance = float(tf.reduce_mean(channels))
    if not variance > 0.0:
        raise PipelineError(
            "the training images are all alike (pixel variance 0), there is nothing to learn; "
            "check the data set"
        )
    return variance


class Source:
    """Records of one split.

    Args:
        patterns: file patterns of gzip TFRecords, as a Trainer gets them.
        parse: batched parser.
        cache_bytes: parsed records up to this size are kept in memory.

    Attributes:
        in_memory: the records are in memory.
    """

    def __init__(self, patterns: Sequence[str], parse: Parse, cache_bytes: int):
        self._files = _files(patterns)
        self._parse = parse
        self._arrays = self._load(cache_bytes)
        self.in_memory = self._arrays is not None

    def batches(self, batch_size: int, seed: int, start: int = 0) -> tf.data.Dataset:
        """Shuffled batches without end, from step `start` on; each epoch has its own order."""
        if self._arrays is None:
            return self._streamed(batch_size, seed, start)
        count = self._count
        first_epoch, offset = divmod(start * batch_size, count)

        def order(epoch):
            shuffled = tf.random.experimental.stateless_shuffle(
                tf.range(count, dtype=tf.int64), seed=tf.stack([tf.cast(seed, tf.int64), epoch])
            )
            return shuffled[tf.where(epoch == first_epoch, tf.cast(offset, tf.int64), 0) :]

        arrays = self._arrays
        return (
            tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
            .map(order)
            .rebatch(batch_size, drop_remainder=True)
            .map(lambda rows: {name: tf.gather(array, rows) for name, array in arrays.items()})
            .prefetch(4)
        )

    def once(self, batch_size: int) -> tf.data.Dataset:
        """Every record once, in file order; the last batch may be smaller."""
        if self._arrays is not None:
            return tf.data.Dataset.from_tensor_slices(self._arrays).batch(batch_size)
        return _records(self._files).batch(batch_size).map(self._parse).prefetch(2)

    def _streamed(self, batch_size: int, seed: int, start: int) -> tf.data.Dataset:
        # Both shuffles draw anew in each epoch, from `seed`, so that the whole sequence repeats.
        return (
            tf.data.Dataset.from_tensor_slices(self._files)
            .shuffle(len(self._files), seed=seed)
            .interleave(_records, cycle_length=8)
            .shuffle(_SHUFFLE_BUFFER, seed=seed)
            .repeat()
            .batch(batch_size, drop_remainder=True)
            .skip(start)
            .map(self._parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .prefetch(4)
        )

    def _load(self, limit: int) -> Batch | None:
        """All records as one tensor per feature, or None when they exceed `limit` bytes."""
        size, chunks = 0, []
        for chunk in _records(self._files).batch(_READ_BATCH).map(self._parse).prefetch(1):
            chunk = {name: value.numpy() for name, value in chunk.items()}
            size += sum(array.nbytes for array in chunk.values())
            if size > limit:
                return None
            chunks.append(chunk)
        if not chunks:
            raise PipelineError(f"no records in {', '.join(self._files)}")
        with tf.device("CPU"):
            arrays = {
                name: tf.constant(np.concatenate([chunk[name] for chunk in chunks]))
                for name in chunks[0]
            }
        self._count = int(arrays[features.LABEL].shape[0])
        return arrays


def _files(patterns: Sequence[str]) -> list[str]:
    files = sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern))
    if not files:
        raise PipelineError(f"no files match {', '.join(patterns)}")
    return files


def _first(patterns: Sequence[str]) -> tf.Tensor:
    for record in _records(_files(patterns)).take(1):
        return record
    raise PipelineError(f"no training examples in {', '.join(patterns)}")


def _records(files) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(files, compression_type="GZIP")
