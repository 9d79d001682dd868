"""Image TFRecords to files of codes, by Beam."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.utils import shared

from components import features
from components.errors import PipelineError
from components.example_gen import file_names
from components.release import Release
from models import images as image_ops
from pipeline import bulk_job, codes_file, model_errors
from pipeline.bulk_job import Job, Progress, Result, Summary
from pipeline.codes_file import Codes
from pipeline.disk_models import load

IMAGES_PER_FILE = 10_000
_BATCH = 64  # records in memory at a time, as many again are read ahead

_FEATURES = {
    features.IMAGE: tf.io.FixedLenFeature([], tf.string),
    features.LABEL: tf.io.VarLenFeature(tf.int64),
}
# Of a batch; in a codes file they are the arrays of the same names.
_COLUMNS = ("codes", "labels", "sizes", "records")


def encode_records(
    release: Release,
    data: Path,
    out: Path,
    beam_args: Sequence[str],
    skip_unusable: bool,
    progress: Progress,
) -> Summary:
    """Encodes every image of a folder of TFRecords.

    Args:
        release: whose encoder is used.
        data: folder of TFRecords, in it or below it, with `image` and perhaps `label`.
        out: new or empty folder; gets the same subfolders, and in them one or more files of codes
            for each file of images, of at most `IMAGES_PER_FILE`.
        beam_args: of Beam's runner.
        skip_unusable: leave out the records that cannot be used and list them in `skipped.jsonl`,
            instead of stopping at the first.
        progress: told of every file.

    Raises:
        PipelineError: naming file, record and reason; then nothing is left in `out`.
    """
    kinds = (".tfrecord", ".tfrecords", ".tfrec", ".record")
    suffixes = [kind + gzip for kind in kinds for gzip in (".gz", "")]
    jobs = bulk_job.find_jobs(
        data, out, file_names.is_tfrecord, (*suffixes, ".gz"), "TFRecords (*.tfrecord[.gz])"
    )
    return bulk_job.run(jobs, EncodeFile(release, skip_unusable), out, beam_args, progress)


class EncodeFile(beam.DoFn):
    """Encodes one file of records."""

    def __init__(self, release: Release, skip_unusable: bool):
        self._release = release
        self._skip_unusable = skip_unusable
        self._shared = shared.Shared()

    def setup(self) -> None:
        # One model per process, however many threads work in it.
        self._model = self._shared.acquire(lambda: load(self._release, "encode"))
        self._signature = self._model.signatures["serving_default"]

    def process(self, job: Job) -> None:
        with bulk_job.reported(job) as result:
            os.makedirs(job.folder, exist_ok=True)
            parts: list[dict[str, np.ndarray]] = []
            rows = start = 0
            for records in _read(job):
                batch = self._encode(job, records, start, result)
                start += len(records)
                if rows + len(batch["codes"]) > IMAGES_PER_FILE:
                    self._write(job, parts, result)
                    parts, rows = [], 0
                if len(batch["codes"]):
                    parts.append(batch)
                    rows += len(batch["codes"])
            self._write(job, parts, result)

    def _encode(
        self, job: Job, records: tf.Tensor, start: int, result: Result
    ) -> dict[str, np.ndarray]:
        """Columns of the records that can be used; their places are counted from `start`."""
        # Graph code cannot catch an error. Halving finds the few records that cause one, and
        # leaves the many others in batches.
        try:
            parsed = _parse(records)
            codes = self._signature(images=parsed["images"])["codes"].numpy()
        except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:  # as its message
            if len(records) == 1:
                return self._unusable(job, records.numpy()[0], start, error, result)
            half = len(records) // 2
            parts = [
                self._encode(job, records[:half], start, result),
                self._encode(job, records[half:], start + half, result),
            ]
            parts = [part for part in parts if len(part["codes"])] or parts[:1]
            return {name: np.concatenate([part[name] for part in parts]) for name in _COLUMNS}
        return {
            "codes": codes_file.narrowest(codes),
            "labels": parsed["labels"].numpy(),
            "sizes": parsed["sizes"].numpy(),
            "records": np.arange(start, start + len(codes)),
        }

    def _unusable(
        self, job: Job, record: bytes, number: int, error: Exception, result: Result
    ) -> dict[str, np.ndarray]:
        reason = _reason(record, error)
        if not self._skip_unusable:
            raise PipelineError(
                f"{job.source}: record {number} cannot be used: {reason}; mend the file, or leave "
                "such records out with --skip-unusable"
            ) from error
        result.skipped.append((number, reason))
        return {name: np.zeros([0], np.int64) for name in _COLUMNS}

    def _write(self, job: Job, parts: list[dict[str, np.ndarray]], result: Result) -> None:
        if not parts:
            return
        columns = {name: np.concatenate([part[name] for part in parts]) for name in _COLUMNS}
        if (columns["labels"] == features.NO_LABEL).all():
            del columns["labels"]
        count = len(columns["codes"])
        numbers = np.char.zfill(columns["records"].astype(np.str_), 7)
        codes = Codes(
            names=np.char.add(f"{job.stem}-", numbers),
            release=self._release.version,
            codebook_sha256=self._release.manifest["codebook_sha256"],
            **columns,
        )
        attempt = job.attempt()
        codes_file.write(attempt, codes)
        bulk_job.finish(job, attempt, f"{job.stem}-{len(result.files):05d}.npz", result)
        result.images += count


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def _parse(records: tf.Tensor) -> dict[str, tf.Tensor]:
    """Images string [N], labels int64 [N] (-1 for none) and sizes int32 [N, 2] of Examples."""
    parsed = tf.io.parse_example(records, _FEATURES)
    labels = parsed[features.LABEL]
    valid = tf.debugging.Assert(
        (labels.dense_shape[1] <= 1) & tf.reduce_all(labels.values >= features.NO_LABEL),
        [features.LABEL],
    )
    with tf.control_dependencies([valid]):
        one_wide = tf.SparseTensor(
            labels.indices, labels.values, tf.stack([labels.dense_shape[0], 1])
        )
        dense = tf.sparse.to_dense(one_wide, tf.constant(features.NO_LABEL, tf.int64))
    encoded = parsed[features.IMAGE]
    return {
        "images": encoded,
        "labels": tf.reshape(dense, [-1]),
        "sizes": image_ops.upright_sizes(encoded),
    }


def _read(job: Job) -> Iterator[tf.Tensor]:
    """Batches of a file's records, string [<= _BATCH]."""
    compression = "GZIP" if job.source.endswith(".gz") else ""
    records = tf.data.TFRecordDataset(job.source, compression, buffer_size=1 << 20)
    done = 0
    batches = iter(records.batch(_BATCH).prefetch(1))
    while True:
        try:
            batch = next(batches, None)
        except tf.errors.OpError as error:
            raise PipelineError(
                f"{job.source}: is not a whole TFRecord file, after {done:,} readable records or a "
                "few more; write it again or remove it"
            ) from error
        if batch is None:
            return
        yield batch
        done += len(batch)


def _reason(record: bytes, error: Exception) -> str:
    from components.example_gen.records import reason_unusable  # seconds of TFX, rarely needed

    reason = reason_unusable(record)
    if reason == "cannot be parsed" and isinstance(error, tf.errors.OpError):
        return model_errors.message(error)
    return reason
