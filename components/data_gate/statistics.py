"""What TensorFlow Data Validation computes of ingested images."""

from __future__ import annotations

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2

from components import features


def stats_options() -> tfdv.StatsOptions:
    """Options of StatisticsGen.

    Encoded images are counted and measured, but not compared with each other: the most frequent
    of a million different byte strings say nothing, and all of them would be held in memory. Of
    other features the most frequent values are found by sketches, in memory that is bounded.
    """
    image = schema_pb2.Feature(
        name=features.IMAGE, type=schema_pb2.BYTES, image_domain=schema_pb2.ImageDomain()
    )
    return tfdv.StatsOptions(
        schema=schema_pb2.Schema(feature=[image]), use_sketch_based_topk_uniques=True
    )
