"""Training data: parsed once into memory where it fits, streamed where it does not.

The order of the images is a function of the seed and the step alone, so that a training that
was interrupted goes on with exactly the batch that it would have seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from components import features
from components.errors import PipelineError
from components.trainer.augment import Augment
from components.trainer.records import Batch, Parse, find_files, read_records

_READ_BATCH = 1024
_FILES_AT_A_TIME = 8
# Records that are shuffled among each other when streamed: so many, but not of more bytes.
_BLOCK_RECORDS = 16_384
_BLOCK_BYTES = 2**26
# Blocks of an epoch have numbers below this.
_MOST_BLOCKS = 2**24


@dataclasses.dataclass(frozen=True)
class Share:
    """What this process gets of every batch: parts `first` … `first + count - 1` of `of`.

    A part is what one replica gets; all are equally large.
    """

    first: int = 0
    count: int = 1
    of: int = 1

    @property
    def processes(self) -> int:
        """Processes that share the batch."""
        return self.of // self.count

    @property
    def process(self) -> int:
        """Which of them this is."""
        return self.first // self.count


_WHOLE = Share()


class Source:
    """Records of one split.

    Args:
        patterns: file patterns of gzip TFRecords, as a Trainer gets them.
        parse: batched parser.
        cache_bytes: parsed records up to this size are kept in memory.
        block_bytes: serialized records up to this size are shuffled at a time when streamed.

    Attributes:
        in_memory: the records are in memory.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        parse: Parse,
        cache_bytes: int,
        block_bytes: int = _BLOCK_BYTES,
    ):
        self._files = find_files(patterns)
        self._parse = parse
        self._arrays = self._load(cache_bytes)
        self.in_memory = self._arrays is not None
        if self.in_memory:
            self._count = int(self._arrays[features.LABEL].shape[0])
        else:
            self._counts, record_bytes = _measure(self._files)
            self._block = max(1, min(_BLOCK_RECORDS, block_bytes // record_bytes))

    def batches(
        self,
        batch_size: int,
        seed: int,
        start: int = 0,
        share: Share = _WHOLE,
        augment: Augment | None = None,
    ) -> tf.data.Dataset:
        """Shuffled batches without end, from step `start` on; each epoch has its own order.

        In memory, a batch is the same however it is shared. Streamed, each process reads files of
        its own where their number can be divided, and else keeps every n-th record of all files.

        Args:
            batch_size: of the whole batch, a multiple of its parts.
            seed: of the order and of what `augment` draws.
            start: step of the first batch.
            share: the parts that are wanted here; each is an element of the data set.
            augment: changes the images.
        """
        if batch_size % share.of:
            raise ValueError(f"batch_size must be a multiple of {share.of}. Received: {batch_size}")
        read = self._from_memory if self.in_memory else self._streamed
        batches = read(batch_size, seed, start, share)
        if augment is not None:
            part = batch_size // share.of

            def augmented(index, batch):
                step, own = index // share.count, index % share.count
                return augment(batch, seed, step, (share.first + own) * part)

            batches = batches.enumerate(start * share.count).map(augmented)
        return batches.prefetch(4)

    def once(self, batch_size: int) -> tf.data.Dataset:
        """Every record once, in file order; the last batch may be smaller."""
        if self._arrays is not None:
            return tf.data.Dataset.from_tensor_slices(self._arrays).batch(batch_size)
        return read_records(self._files).batch(batch_size).map(self._parse).prefetch(2)

    def _from_memory(self, batch_size: int, seed: int, start: int, share: Share) -> tf.data.Dataset:
        count, arrays, part = self._count, self._arrays, batch_size // share.of
        first_epoch, offset = divmod(start * batch_size, count)

        def order(epoch):
            shuffled = tf.random.experimental.stateless_shuffle(
                tf.range(count, dtype=tf.int64), seed=tf.stack([tf.cast(seed, tf.int64), epoch])
            )
            return shuffled[tf.where(epoch == first_epoch, tf.cast(offset, tf.int64), 0) :]

        rows = (
            tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
            .map(order)
            .rebatch(batch_size, drop_remainder=True)
        )
        if share != _WHOLE:
            own = slice(share.first * part, (share.first + share.count) * part)
            rows = rows.map(lambda batch: batch[own]).rebatch(part, drop_remainder=True)
        return rows.map(lambda own: {name: tf.gather(each, own) for name, each in arrays.items()})

    def _streamed(self, batch_size: int, seed: int, start: int, share: Share) -> tf.data.Dataset:
        by_file = len(self._files) % share.processes == 0
        mine = slice(share.process, None, share.processes)
        files = self._files[mine] if by_file else self._files
        count = sum(self._counts[file] for file in files)
        count = count if by_file else len(range(count)[mine])
        part = batch_size // share.of
        first_epoch, offset = divmod(start * share.count * part, count)

        def one_epoch(epoch):
            key = tf.stack([tf.cast(seed, tf.int64), epoch * _MOST_BLOCKS])
            order = tf.random.experimental.stateless_shuffle(tf.constant(files), seed=key)
            records = tf.data.Dataset.from_tensor_slices(order).interleave(
                read_records, cycle_length=_FILES_AT_A_TIME
            )
            if not by_file:
                records = records.shard(share.processes, share.process)
            # Block by block, with a seed for each: tf.data's own shuffle would have to go
            # through all the epochs before this one to know its order.
            return (
                records.batch(self._block)
                .enumerate(1)
                .map(lambda index, block: _shuffled(block, key + tf.stack([0, index])))
                .unbatch()
                .skip(tf.where(epoch == first_epoch, tf.cast(offset, tf.int64), 0))
            )

        return (
            tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
            .flat_map(one_epoch)
            .batch(part, drop_remainder=True)
            .map(self._parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        )

    def _load(self, limit: int) -> Batch | None:
        """All records as one tensor per feature, or None when they exceed `limit` bytes."""
        size, chunks = 0, []
        for chunk in read_records(self._files).batch(_READ_BATCH).map(self._parse).prefetch(1):
            chunk = {name: value.numpy() for name, value in chunk.items()}
            size += sum(array.nbytes for array in chunk.values())
            if size > limit:
                return None
            chunks.append(chunk)
        if not chunks:
            raise PipelineError(f"no records in {', '.join(self._files)}")
        with tf.device("CPU"):
            return {
                name: tf.constant(np.concatenate([chunk[name] for chunk in chunks]))
                for name in chunks[0]
            }


def _shuffled(rows, seed):
    return tf.random.experimental.stateless_shuffle(rows, seed=seed)


def _measure(files: Sequence[str]) -> tuple[dict[str, int], int]:
    """Records of each file, and bytes of the largest record."""
    counts, largest = {}, 1
    for file in files:
        count, longest = read_records(file).reduce(
            (np.int64(0), np.int32(0)),
            lambda so_far, record: (
                so_far[0] + 1,
                tf.maximum(so_far[1], tf.strings.length(record)),
            ),
        )
        counts[file], largest = int(count), max(largest, int(longest))
    return counts, largest
