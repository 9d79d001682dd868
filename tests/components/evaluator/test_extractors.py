"""How held-out images reach the models: the same batches, however the reader cut them."""

from __future__ import annotations

import apache_beam as beam
import pyarrow as pa
import pytest
import tensorflow_model_analysis as tfma
from apache_beam.testing.util import assert_that, equal_to

from components.evaluator.extractors import _EvenBatches


@pytest.mark.parametrize("cuts", [[10], [1] * 10, [3, 3, 4], [0, 7, 3], [4, 4, 2]])
def test_batches_do_not_depend_on_how_the_reader_cut_them(cuts):
    records, start = [], 0
    for size in cuts:
        column = pa.array([[f"image {row}".encode()] for row in range(start, start + size)])
        records.append(pa.RecordBatch.from_arrays([column.cast(pa.list_(pa.binary()))], ["image"]))
        start += size

    with beam.Pipeline() as pipeline:
        batches = (
            pipeline
            # One element, so that Beam cannot divide the batches among bundles.
            | beam.Create([records])
            | beam.FlatMap(
                lambda batches: [{tfma.ARROW_RECORD_BATCH_KEY: each} for each in batches]
            )
            | beam.ParDo(_EvenBatches(4))
            | beam.Map(lambda made: made[tfma.ARROW_RECORD_BATCH_KEY]["image"].to_pylist())
        )
        images = [[f"image {row}".encode()] for row in range(10)]
        assert_that(batches, equal_to([images[:4], images[4:8], images[8:]]))
