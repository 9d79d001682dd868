"""Files of codes to TFRecords of PNG images, by Beam."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from apache_beam.utils import shared
from tfx_bsl.coders import example_coder

from components import features
from components.errors import PipelineError
from components.release_store.release import Release
from models.exported import takes_labels
from pipeline.inference import bulk_job, codes_file, errors
from pipeline.inference.bulk_job import Job, Summary
from pipeline.inference.disk import DiskModels, load
from pipeline.inference.files import check_is_of_images, models_for
from pipeline.inference.models import BATCH, BATCH_BYTES, NO_LABELS
from pipeline.progress import Progress


def decode_codes(
    models: DiskModels,
    data: Path,
    out: Path,
    beam_args: Sequence[str],
    progress: Progress,
    *,
    chosen: bool,
    force: bool,
) -> Summary:
    """Decodes every file of codes in a folder.

    Args:
        models: whose decoder is used, see `pipeline.inference.files.models_for` for which else.
        data: folder of files of codes, in it or below it, all of one codebook.
        out: new or empty folder; gets the same subfolders, and in them one TFRecord file for each
            file of codes, with `image`, and `label` where it is known.
        beam_args: of Beam's runner.
        progress: told of every file.
        chosen, force: see `models_for`.

    Raises:
        PipelineError: what cannot be decoded and why; then nothing is left in `out`.
    """
    jobs = bulk_job.find_jobs(
        data, out, lambda name: name.endswith(".npz"), (".npz",), "files of codes (*.npz)"
    )
    headers = {job: codes_file.read_header(Path(job.source)) for job in jobs}
    for job, header in headers.items():
        if header.in_tiles:
            raise PipelineError(
                f"{job.source}: its pictures were encoded in tiles; decode it by itself, without "
                "--data"
            )
    first, *others = jobs
    for job in others:
        if headers[job].codebook_sha256 != headers[first].codebook_sha256:
            raise PipelineError(
                f"{job.source}: its codes are of another codebook than those of {first.source}; "
                "decode them one folder at a time"
            )
    version, sha256 = headers[first].release, headers[first].codebook_sha256
    used, note = models_for(models, Path(first.source), sha256, version, chosen=chosen, force=force)
    check_is_of_images(used, "decode", "--data")
    summary = bulk_job.run(jobs, DecodeFile(used.release), out, beam_args, progress)
    summary.note = note
    return summary


class DecodeFile(beam.DoFn):
    """Decodes one file of codes."""

    def __init__(self, release: Release):
        self._release = release
        self._shared = shared.Shared()

    def setup(self) -> None:
        # One model per process, however many threads work in it.
        self._model = self._shared.acquire(lambda: load(self._release, "decode"))
        self._signature = self._model.signatures["serving_default"]
        self._refused = NO_LABELS % self._release.version if takes_labels(self._signature) else None
        pixels = self._signature.structured_outputs["images"].shape[1:].num_elements()
        self._batch = min(max(BATCH_BYTES // pixels, 1), BATCH)
        self._encoder = example_coder.RecordBatchToExamplesEncoder()

    def process(self, job: Job) -> None:
        with bulk_job.reported(job) as result:
            if self._refused:
                raise PipelineError(self._refused)
            os.makedirs(job.folder, exist_ok=True)
            attempt = job.attempt()
            options = tf.io.TFRecordOptions("GZIP", compression_level=1)  # PNGs are compressed
            with tf.io.TFRecordWriter(os.fsencode(attempt), options) as writer:
                for examples in self._decode(job):
                    for example in examples:
                        writer.write(example)
                    result.images += len(examples)
            bulk_job.finish(job, attempt, f"{job.stem}.tfrecord.gz", result)

    def _decode(self, job: Job) -> Iterator[list[bytes]]:
        """Batches of serialized Examples."""
        stored = codes_file.read(Path(job.source))
        for start in range(0, len(stored), self._batch):
            rows = slice(start, start + self._batch)
            try:
                images = self._signature(codes=tf.constant(stored.codes[rows]))["images"]
            except tf.errors.InvalidArgumentError as error:
                raise PipelineError(f"{job.source}: {errors.message(error)}") from error
            columns = {features.IMAGE: _lists(pa.array(_to_png(images).numpy(), pa.binary()))}
            if stored.labels is not None:
                labels = stored.labels[rows]
                columns[features.LABEL] = _lists(pa.array(labels), labels != features.NO_LABEL)
            table = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
            yield self._encoder.encode(table)


@tf.function(input_signature=[tf.TensorSpec([None, None, None, None], tf.uint8)])
def _to_png(images: tf.Tensor) -> tf.Tensor:
    """uint8 [N, H, W, C] -> string [N]."""
    with tf.device("/CPU:0"):
        return tf.map_fn(tf.io.encode_png, images, fn_output_signature=tf.string)


def _lists(values: pa.Array, there: np.ndarray | None = None) -> pa.ListArray:
    """One value per record as the lists that Examples are made of; none where not `there`."""
    if there is None:
        there = np.ones(len(values), bool)
    ends = np.concatenate([[0], np.cumsum(there)]).astype(np.int32)
    kept = values.filter(pa.array(there))
    return pa.ListArray.from_arrays(pa.array(ends), kept)
