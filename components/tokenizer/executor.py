"""Encodes files of images into files of codes, one Beam element per file.

A file is the unit because gzip files cannot be read from the middle anyhow, and because inside
one file everything that touches an image then runs in C++ over whole batches: tf.data reads and
parses ahead while the model encodes, and Arrow columns become Examples in one call.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from apache_beam.utils import shared
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils
from tfx_bsl.coders import example_coder

from components import durable_files, features
from components.durable_files import UNFINISHED
from components.errors import PipelineError
from models.device import full_float32

SIGNATURE = "pixels"


class _Job(NamedTuple):
    """One file of images and the file of codes to make of it."""

    images: str
    codes: str
    unfinished: str


class Executor(base_beam_executor.BaseBeamExecutor):
    """See `components.tokenizer.component.Tokenizer`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `codes`.

        Raises:
            PipelineError: a file is damaged, its images are not of the model's size, or the model
                makes codes that its codebook does not have.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        images = artifact_utils.get_single_instance(input_dict["examples"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        codes = artifact_utils.get_single_instance(output_dict["codes"])
        codes.split_names = images.split_names
        examples_utils.set_payload_format(codes, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(codes, "tfrecords_gzip")

        # Beside the splits, not in them: readers take every file of a split's folder.
        unfinished = os.path.join(codes.uri, UNFINISHED)
        fileio.makedirs(unfinished)
        encode = _Encode(
            path_utils.serving_model_path(model.uri),
            exec_properties["num_codes"],
            exec_properties["batch_size"],
        )
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(list(_jobs(images, codes, unfinished)))
                | "Spread" >> beam.Reshuffle()
                | "Encode" >> beam.ParDo(encode)
            )
        fileio.rmtree(unfinished)


def _jobs(images: types.Artifact, codes: types.Artifact, unfinished: str) -> Iterator[_Job]:
    for split in artifact_utils.decode_split_names(images.split_names):
        pattern = io_utils.all_files_pattern(artifact_utils.get_split_uri([images], split))
        files = sorted(fileio.glob(pattern))
        if not files:
            raise PipelineError(f"{pattern}: split {split!r} has no files; run Transform again")
        folder = artifact_utils.get_split_uri([codes], split)
        fileio.makedirs(folder)
        for index, file in enumerate(files):
            name = f"codes-{index:05}-of-{len(files):05}.gz"
            yield _Job(file, os.path.join(folder, name), unfinished)


# Integers, one per image, that the prior needs beside the codes.
_CARRIED = (features.LABEL, features.NUM_CLASSES)


class _Encode(beam.DoFn):
    """Encodes one file; a file of codes appears only when it is complete."""

    def __init__(self, model_path: str, num_codes: int, batch_size: int):
        self._model_path = model_path
        self._num_codes = num_codes
        self._batch_size = batch_size
        self._shared = shared.Shared()
        self._images = beam.metrics.Metrics.counter("Tokenizer", "images")

    def setup(self) -> None:
        full_float32()
        # One model per process, however many threads work in it.
        self._model = self._shared.acquire(lambda: tf.saved_model.load(self._model_path))
        self._signature = self._model.signatures[SIGNATURE]
        self._image_shape = self._signature.structured_input_signature[1]["images"].shape[1:]
        self._encoder = example_coder.RecordBatchToExamplesEncoder()

    def process(self, job: _Job) -> None:
        # Beam may run a file twice at once; each attempt writes its own file.
        attempt = durable_files.attempt(job.unfinished)
        with tf.io.TFRecordWriter(attempt, "GZIP") as writer:
            for batch in self._batches(job.images):
                codes = self._signature(images=batch[features.IMAGE])["codes"].numpy()
                carried = {name: batch[name].numpy() for name in _CARRIED}
                for example in self._encoder.encode(self._columns(codes, carried)):
                    writer.write(example)
                self._images.inc(len(codes))
        fileio.rename(attempt, job.codes, overwrite=True)

    def _batches(self, file: str) -> Iterator[dict[str, tf.Tensor]]:
        """Yields images uint8 [N, H, W, C], and int64 [N] of each name in `_CARRIED`."""
        spec = {name: tf.io.FixedLenFeature([], tf.int64) for name in _CARRIED}
        spec[features.IMAGE] = tf.io.FixedLenFeature([], tf.string)

        def parse(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            parsed = tf.io.parse_example(examples, spec)
            pixels = tf.io.decode_raw(parsed[features.IMAGE], tf.uint8)
            return {**parsed, features.IMAGE: tf.reshape(pixels, [-1, *self._image_shape])}

        compression = "GZIP" if file.endswith(".gz") else ""
        records = tf.data.TFRecordDataset(file, compression, buffer_size=1 << 20)
        batches = iter(records.batch(self._batch_size).map(parse).prefetch(2))
        while True:
            try:
                batch = next(batches, None)
            except tf.errors.DataLossError as error:
                raise PipelineError(f"{file} is damaged; run Transform again") from error
            except tf.errors.InvalidArgumentError as error:
                size = "×".join(map(str, self._image_shape))
                raise PipelineError(
                    f"{file} does not hold images of {size}, which the model takes; "
                    "train it on the output of the same Transform"
                ) from error
            if batch is None:
                return
            yield batch

    def _columns(self, codes: np.ndarray, carried: dict[str, np.ndarray]) -> pa.RecordBatch:
        """Codes [N, ...] and integers [N] as a table of N records."""
        if not 0 <= codes.min() <= codes.max() < self._num_codes:
            raise PipelineError(
                f"{self._model_path} makes codes {codes.min()} to {codes.max()}, but its codebook "
                f"has {self._num_codes}; train it with the same model.quantizer.num_codes"
            )
        data = np.ascontiguousarray(codes, features.code_dtype(self._num_codes))
        count = len(codes)
        ends = np.arange(count + 1, dtype=np.int32)
        rows = pa.array(ends)  # one value per record
        values = pa.Array.from_buffers(
            pa.binary(),
            count,
            [None, pa.py_buffer(ends * (data.nbytes // count)), pa.py_buffer(data)],
        )
        columns = {features.CODES: values, **{name: pa.array(carried[name]) for name in _CARRIED}}
        lists = [pa.ListArray.from_arrays(rows, column) for column in columns.values()]
        return pa.RecordBatch.from_arrays(lists, list(columns))
