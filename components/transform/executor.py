"""Writes the Transform graph, then the pixels of every record, file by file."""

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
from components.kinds import AudioKind, ImageKind, read_kind
from components.per_file import FileJob
from components.record_files import Writer
from components.transform import preprocessing

# The split that mean and variance are of.
_ANALYZED = "train"
# In place of a feature that a record has not.
_NOTHING = {tf.string: b"", tf.int64: tf.constant(features.NO_LABEL, tf.int64)}


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
            PipelineError: a file is damaged or holds what cannot be decoded, or a split has no
                files.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        kind = read_kind(exec_properties["kind"])
        schema = io_utils.SchemaReader().read(
            io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(input_dict["schema"]))
        )
        _write_graph(schema, kind, artifact_utils.get_single_uri(output_dict["transform_graph"]))
        per_file.rewrite(
            self._make_beam_pipeline,
            artifact_utils.get_single_instance(input_dict["examples"]),
            artifact_utils.get_single_instance(output_dict["transformed_examples"]),
            "images",
            _Transform(
                schema_utils.schema_as_feature_spec(schema).feature_spec,
                kind,
                exec_properties["pixels"] == "stored",
                exec_properties["batch_size"],
            ),
            exec_properties["pixels"],
        )


def _write_graph(schema: schema_pb2.Schema, kind: ImageKind | AudioKind, uri: str) -> None:
    """tf.Transform's folder of a preprocessing function that needs no pass over the data."""
    specs = schema_utils.schema_as_feature_spec(schema).feature_spec
    told = {"kind": kind.model_dump_json()}
    impl_helper.analyze_in_place(
        lambda inputs: preprocessing.preprocessing_fn(inputs, told),
        force_tf_compat_v1=False,
        feature_specs=specs,
        type_specs=impl_helper.get_type_specs_from_feature_specs(specs),
        transform_output_path=uri,
    )
    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata(schema),
        os.path.join(uri, tft.TFTransformOutput.RAW_METADATA_DIR),
    )


class _Transform(beam.DoFn):
    """Transforms one file.

    Args:
        specs: how to parse the features that there are, by the schema.
        kind: of the data.
        store: pixels are written, and not what they are decoded from.
        batch_size: records decoded at a time.
    """

    def __init__(
        self, specs: dict[str, Any], kind: ImageKind | AudioKind, store: bool, batch_size: int
    ):
        self._specs, self._kind, self._store = specs, kind, store
        self._batch_size = batch_size
        self._images = beam.metrics.Metrics.counter("Transform", "images")

    def setup(self) -> None:
        # Of the splits that are analyzed, and of the others.
        self._reads = {True: self._read(True), False: self._read(False)}

    def process(self, job: FileJob) -> Iterator[SplitContents]:
        analyzed = job.split == _ANALYZED
        contents = SplitContents()
        with Writer(job.target, job.unfinished) as writer:
            size = per_file.at_once(job.held, self._batch_size, math.prod(self._kind.shape))
            for batch in self._reads[analyzed].of(job.source, size):
                pixels = batch.pop("pixels", None)
                columns = {name: each.numpy() for name, each in batch.items()}
                if self._store:
                    columns[features.IMAGE] = pixels.numpy()
                writer.write(columns)
                contents.count_labels(columns[features.LABEL])
                if analyzed:
                    sums = PixelSums.of(pixels.numpy())
                    contents.pixels = sums + contents.pixels if contents.pixels else sums
                self._images.inc(len(columns[features.LABEL]))
        contents.files = {os.path.basename(job.target): writer.contents}
        yield contents

    def _read(self, analyzed: bool) -> per_file.Batches:
        """Gives `pixels` where they are needed, and the features that are written besides."""
        kind = self._kind
        passed_on = [name for name in kind.passed_on(analyzed) if name in self._specs]
        names = {kind.feature, features.LABEL, *passed_on} & self._specs.keys()
        spec = {name: self._specs[name] for name in names}

        def parse(records):
            inputs = tf.io.parse_example(records, spec)
            payload = preprocessing.column(inputs[kind.feature], b"")
            found = {features.LABEL: preprocessing.labels(inputs, payload)}
            for name in passed_on:
                found[name] = preprocessing.column(inputs[name], _NOTHING[spec[name].dtype])
            if not self._store:
                found[features.IMAGE] = payload
            if self._store or analyzed:
                found["pixels"] = kind.pixels(payload)
            return found

        return per_file.Batches(
            parse,
            wrong="holds what cannot be decoded; run ImageExampleGen again",
            again="run ImageExampleGen again",
        )
