"""Computes statistics of ingested records, with every file read by whichever worker is free."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.components.statistics_gen.executor import DEFAULT_FILE_NAME
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx_bsl.coders import example_coder

from components import features, per_file
from components.contents import FileContents

# Records that are taken apart at a time; their images stay encoded.
_BATCH = 256


class Executor(base_beam_executor.BaseBeamExecutor):
    """See `components.statistics_gen.component.ImageStatisticsGen`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `statistics`.

        Raises:
            PipelineError: a split is empty, or its files are not those that were written.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        statistics = artifact_utils.get_single_instance(output_dict["statistics"])
        options = stats_options()
        statistics.split_names = examples.split_names
        statistics.span = examples.span
        with self._make_beam_pipeline() as pipeline:
            for split in artifact_utils.decode_split_names(examples.split_names):
                files = per_file.files_of(examples, split)
                target = artifact_utils.get_split_uri([statistics], split)
                _ = (
                    pipeline
                    | f"Files[{split}]" >> beam.Create(list(files.items()))
                    | f"Spread[{split}]" >> beam.Reshuffle()
                    | f"Read[{split}]" >> beam.ParDo(_Read())
                    | f"Statistics[{split}]" >> tfdv.GenerateStatistics(options)
                    | f"Write[{split}]"
                    >> tfdv.WriteStatisticsToBinaryFile(os.path.join(target, DEFAULT_FILE_NAME))
                )


def stats_options() -> tfdv.StatsOptions:
    """What is computed of ingested records.

    What is encoded in them, and what they are called, is counted and measured, but not compared
    with each other: the most frequent of a million different byte strings say nothing, and all of
    them would be held in memory. Of other features the most frequent values are found by sketches,
    in memory that is bounded.
    """
    apart = (features.IMAGE, features.AUDIO, features.ID)
    return tfdv.StatsOptions(
        schema=schema_pb2.Schema(feature=map(_apart, apart)),
        use_sketch_based_topk_uniques=True,
    )


def _apart(name: str) -> schema_pb2.Feature:
    """A feature whose values all differ, as TensorFlow Data Validation knows them: of images."""
    domain = schema_pb2.ImageDomain()
    return schema_pb2.Feature(name=name, type=schema_pb2.BYTES, image_domain=domain)


class _Read(beam.DoFn):
    """Reads a file of records in batches, as Arrow's columns."""

    def setup(self) -> None:
        again = "run ImageExampleGen again"
        self._decoder = example_coder.ExamplesToRecordBatchDecoder()
        self._batches = per_file.Batches(lambda records: records, f"is damaged; {again}", again)

    def process(self, element: tuple[str, FileContents]) -> Iterator[pa.RecordBatch]:
        file, held = element
        for records in self._batches.of(file, per_file.at_once(held, _BATCH)):
            yield self._decoder.DecodeBatch(records.numpy())
