"""Writes the Transform graph, then the pixels of every image, file by file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform import impl_helper
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components import features, per_file
from components.contents import PixelSums, SplitContents
from components.per_file import FileJob
from components.record_files import Writer
from components.transform import preprocessing
from models import images

# The split that mean and variance are of.
_ANALYZED = "train"


class Executor(base_beam_executor.BaseBeamExecutor):
    """See `components.transform.component.ImageTransform`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `transform_graph` and `transformed_examples`.

        Raises:
            PipelineError: a file is damaged or holds what is no image, or a split has no files.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        height, width, channels = (
            exec_properties[name] for name in ("height", "width", "channels")
        )
        shape = (height, width, channels)
        schema = io_utils.SchemaReader().read(
            io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(input_dict["schema"]))
        )
        _write_graph(schema, shape, artifact_utils.get_single_uri(output_dict["transform_graph"]))
        per_file.rewrite(
            self._make_beam_pipeline,
            artifact_utils.get_single_instance(input_dict["examples"]),
            artifact_utils.get_single_instance(output_dict["transformed_examples"]),
            "images",
            _Transform(
                _own_features(schema),
                shape,
                exec_properties["pixels"] == "stored",
                exec_properties["batch_size"],
            ),
            exec_properties["pixels"],
        )


def _write_graph(schema: schema_pb2.Schema, shape: tuple[int, int, int], uri: str) -> None:
    """tf.Transform's folder of a preprocessing function that needs no pass over the data."""
    specs = schema_utils.schema_as_feature_spec(schema).feature_spec
    sides = dict(zip(("height", "width", "channels"), shape, strict=True))
    impl_helper.analyze_in_place(
        lambda inputs: preprocessing.preprocessing_fn(inputs, {"image": sides}),
        force_tf_compat_v1=False,
        feature_specs=specs,
        type_specs=impl_helper.get_type_specs_from_feature_specs(specs),
        transform_output_path=uri,
    )
    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata(schema),
        os.path.join(uri, tft.TFTransformOutput.RAW_METADATA_DIR),
    )


def _own_features(schema: schema_pb2.Schema) -> dict[str, Any]:
    """How to parse the features that matter here, by the schema."""
    specs = schema_utils.schema_as_feature_spec(schema).feature_spec
    return {name: specs[name] for name in (features.IMAGE, features.LABEL) if name in specs}


class _Transform(beam.DoFn):
    """Transforms one file."""

    def __init__(
        self, spec: dict[str, Any], shape: tuple[int, int, int], store: bool, batch_size: int
    ):
        self._spec, self._shape, self._store = spec, shape, store
        self._batch_size = batch_size
        self._images = beam.metrics.Metrics.counter("Transform", "images")

    def setup(self) -> None:
        self._decoded, self._encoded = self._read(decode=True), self._read(decode=False)

    def process(self, job: FileJob) -> Iterator[SplitContents]:
        analyzed = job.split == _ANALYZED
        contents = SplitContents()
        with Writer(job.target, job.unfinished) as writer:
            read = self._decoded if self._store or analyzed else self._encoded
            size = per_file.at_once(job.held, self._batch_size, math.prod(self._shape))
            for batch in read.of(job.source, size):
                image = batch["pixels" if self._store else "encoded"].numpy()
                label = batch["label"].numpy()
                writer.write({features.IMAGE: image, features.LABEL: label})
                contents.count_labels(label)
                if analyzed:
                    sums = PixelSums.of(batch["pixels"].numpy())
                    contents.pixels = sums + contents.pixels if contents.pixels else sums
                self._images.inc(len(label))
        contents.files = {os.path.basename(job.target): writer.contents}
        yield contents

    def _read(self, decode: bool) -> per_file.Batches:
        def parse(records):
            inputs = tf.io.parse_example(records, self._spec)
            encoded = preprocessing.encoded(inputs)
            found = {"encoded": encoded, "label": preprocessing.labels(inputs)}
            if decode:
                found["pixels"] = images.preprocess_images(encoded, self._shape)
            return found

        return per_file.Batches(
            parse,
            wrong="holds what is no PNG or JPEG image; run ImageExampleGen again",
            again="run ImageExampleGen again",
        )
