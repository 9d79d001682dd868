"""Training data: parsed once into memory where it fits, streamed where it does not.

The order of the images is a function of the seed and the step alone, so that a training that
was interrupted goes on with exactly the batch that it would have seen.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from components import contents
from components.errors import PipelineError, one_line
from components.record_files import read_records
from components.stored_images import Parse
from components.trainer.augment import Augment
from components.trainer.records import Batch, first_record

# Serialized records that are read at a time into memory.
_CHUNK_BYTES = 2**21
_FILES_AT_A_TIME = 8
# Records that are taken from one file before it is the next one's turn.
_IN_A_ROW = 16
# Records of a shuffled block that are copied out of it at a time.
_COPIED = 128
_SHUFFLE_BYTES = 2**27
# What a record takes in memory besides its contents.
_RECORD_BYTES = 256
# Batches that wait, ready or half ready, take up to so many bytes, or more where they are large.
_WAITING_BYTES = 2**27
_WAITING_BATCHES = 16
# Blocks of an epoch have numbers below this.
_MOST_BLOCKS = 2**24
_PARALLEL = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}


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
        patterns: file patterns of TFRecords, as a Trainer gets them.
        parse: batched parser.
        cache_bytes: parsed records up to this size are kept in memory.
        shuffle_bytes: serialized records up to this size are shuffled among each other when
            streamed, while as many more are read.

    Attributes:
        in_memory: the records are in memory.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        parse: Parse,
        cache_bytes: int,
        shuffle_bytes: int = _SHUFFLE_BYTES,
    ):
        held = contents.files(patterns)
        self._files = list(held)
        self._counts = [file.records for file in held.values()]
        self._parse = parse
        longest = max(file.longest for file in held.values())
        self._arrays = _in_memory(self._files, sum(self._counts), longest, parse, cache_bytes)
        self._block = max(1, shuffle_bytes // (longest + _RECORD_BYTES))
        self.in_memory = self._arrays is not None

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
        if self._arrays is not None:
            batches = self._from_memory(self._arrays, batch_size, seed, start, share)
        else:
            batches = self._streamed(batch_size, seed, start, share)
        part = batch_size // share.of
        if augment is not None:

            def augmented(index, batch):
                step, own = index // share.count, index % share.count
                return augment(batch, seed, step, (share.first + own) * part)

            batches = batches.enumerate(start * share.count).map(augmented, **_PARALLEL)
        return batches.prefetch(tf.data.AUTOTUNE).with_options(_bounded(batches, part))

    def once(self, batch_size: int) -> tf.data.Dataset:
        """Every record once, in an order that is always the same; the last batch may be smaller."""
        if self._arrays is not None:
            return tf.data.Dataset.from_tensor_slices(self._arrays).batch(batch_size)
        files = tf.data.Dataset.from_tensor_slices(self._files)
        return _by_turns(files).batch(batch_size).map(self._parse, **_PARALLEL).prefetch(2)

    def _from_memory(
        self, arrays: Batch, batch_size: int, seed: int, start: int, share: Share
    ) -> tf.data.Dataset:
        count, part = sum(self._counts), batch_size // share.of
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

        def gathered(own):
            return {name: tf.gather(each, own) for name, each in arrays.items()}

        return rows.map(gathered, **_PARALLEL)

    def _streamed(self, batch_size: int, seed: int, start: int, share: Share) -> tf.data.Dataset:
        """An epoch is the files in a random order, a group of them at a time by turns, and the
        records that this gives in blocks, each shuffled. Thus the counts tell in which block of
        which group an epoch is taken up, and no file of the groups before it is opened.
        """
        by_file = len(self._files) % share.processes == 0
        mine = slice(share.process, None, share.processes)
        files, counts = self._files, self._counts
        if by_file:
            files, counts = files[mine], counts[mine]
        every, first = (1, 0) if by_file else (share.processes, share.process)
        part = batch_size // share.of
        count = len(range(first, sum(counts), every))
        first_epoch, offset = divmod(start * share.count * part, count)
        first_block, done = divmod(offset, self._block)

        def blocks(epoch):
            key = tf.stack([tf.cast(seed, tf.int64), epoch * _MOST_BLOCKS])
            order = _shuffled(tf.range(len(files)), key)
            block = tf.where(epoch == first_epoch, tf.constant(first_block, tf.int64), 0)
            records = _from(
                tf.gather(tf.constant(files), order),
                tf.gather(tf.constant(counts, tf.int64), order),
                first + block * self._block * every,
            )
            # Each with a seed of its own: tf.data's own shuffle would have to go through all the
            # records before a block to know its order.
            numbered = records.shard(every, 0).batch(self._block).enumerate(block + 1)
            return numbered.map(lambda number, rows: (rows, key + tf.stack([0, number])))

        def shuffled(rows, seed):
            """A few at a time, so that there is no second copy of the block."""
            order = tf.data.Dataset.from_tensor_slices(_shuffled(tf.range(tf.size(rows)), seed))
            return order.batch(_COPIED).map(lambda places: tf.gather(rows, places))

        return (
            tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
            .flat_map(blocks)
            .prefetch(1)
            .flat_map(shuffled)
            .unbatch()
            .skip(done)
            .batch(part, drop_remainder=True)
            .map(self._parse, **_PARALLEL)
        )


def _shuffled(rows, seed):
    return tf.random.experimental.stateless_shuffle(rows, seed=seed)


def _bounded(batches: tf.data.Dataset, part: int) -> tf.data.Options:
    """Memory for what is computed ahead: tf.data by itself would take half of the machine's."""
    spec = batches.element_spec.values()
    size = part * sum(math.prod(each.shape[1:]) * each.dtype.size for each in spec)
    options = tf.data.Options()
    options.autotune.ram_budget = max(_WAITING_BYTES, _WAITING_BATCHES * size)
    return options


def _by_turns(files: tf.data.Dataset) -> tf.data.Dataset:
    """Records of several files at a time, a few of each by turns."""
    # Handed from thread to thread by the batch: one by one, small records cost twice the time.
    return files.interleave(
        lambda file: read_records(file).batch(_IN_A_ROW), _FILES_AT_A_TIME, **_PARALLEL
    ).unbatch()


def _from(files: tf.Tensor, counts: tf.Tensor, place: tf.Tensor) -> tf.data.Dataset:
    """Records from a place on, a group of files after the other, those of a group by turns.

    Args:
        files: string [F].
        counts: int64 [F], records of each.
        place: int64 [], records before the first that is wanted.
    """
    ends = tf.cumsum(counts)[_FILES_AT_A_TIME - 1 :: _FILES_AT_A_TIME]  # of full groups
    begins = tf.concat([[0], ends], axis=0)
    group = tf.math.count_nonzero(begins <= place) - 1  # the last that begins before the place
    return (
        tf.data.Dataset.from_tensor_slices(files[group * _FILES_AT_A_TIME :])
        .window(_FILES_AT_A_TIME)
        .flat_map(_by_turns)
        .skip(place - begins[group])
    )


def _in_memory(
    files: Sequence[str], records: int, longest: int, parse: Parse, limit: int
) -> Batch | None:
    """All records as one tensor per feature; None where these exceed `limit` bytes.

    That is known before any but the first is read.
    """
    try:
        first = parse(first_record(files)[tf.newaxis])
    except tf.errors.InvalidArgumentError as error:
        raise PipelineError(
            f"{files[0]}: its first record does not fit this configuration; train with the one "
            f"that it was made with, or make it again ({one_line(error)})"
        ) from error
    each = sum(column.numpy().nbytes for column in first.values())
    if each * records > limit:
        return None
    at_once = max(1, _CHUNK_BYTES // longest)
    dataset = tf.data.Dataset.from_tensor_slices(list(files)).flat_map(read_records)
    in_order = list(dataset.batch(at_once).map(parse, **_PARALLEL))
    with tf.device("CPU"):
        return {
            # Each is let go of before the next is put together.
            name: tf.concat([batch.pop(name) for batch in in_order], axis=0)
            for name in list(in_order[0])
        }
