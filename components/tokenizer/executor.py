"""Encodes files of images into files of codes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.utils import shared
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components import contents, features, per_file
from components.contents import SplitContents
from components.errors import PipelineError
from components.features import Pixels
from components.per_file import FileJob
from components.record_files import Writer
from components.stored_images import parser
from components.tokenizer.views import SPLIT, Views
from models.device import full_float32

SIGNATURE = "pixels"


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
        per_file.rewrite(
            self._make_beam_pipeline,
            images,
            codes,
            "codes",
            _Encode(
                path_utils.serving_model_path(model.uri),
                exec_properties["num_codes"],
                exec_properties["batch_size"],
                contents.read(images.uri).pixels,
                Views.model_validate_json(exec_properties["views"]),
            ),
        )


class _Encode(beam.DoFn):
    """Encodes one file; a file of codes appears only when it is complete."""

    def __init__(
        self, model_path: str, num_codes: int, batch_size: int, pixels: Pixels, views: Views
    ):
        self._model_path = model_path
        self._num_codes = num_codes
        self._batch_size = batch_size
        self._pixels = pixels
        self._views = views
        self._shared = shared.Shared()
        self._images = beam.metrics.Metrics.counter("Tokenizer", "images")

    def setup(self) -> None:
        full_float32()
        # One model per process, however many threads work in it.
        self._model = self._shared.acquire(lambda: tf.saved_model.load(self._model_path))
        self._signature = self._model.signatures[SIGNATURE]
        shape = tuple(self._signature.structured_input_signature[1]["images"].shape[1:])
        self._image_bytes = math.prod(shape)
        self._batches = per_file.Batches(
            parser(shape, self._pixels),
            wrong=f"does not hold images of {'×'.join(map(str, shape))}, which the model takes; "
            "train it on the output of the same Transform",
            again="run Transform again",
        )

    def process(self, job: FileJob) -> Iterator[SplitContents]:
        held = SplitContents()
        size = per_file.at_once(job.held, self._batch_size, self._image_bytes)
        views = self._views if job.split == SPLIT else Views()
        with Writer(job.target, job.unfinished) as writer:
            for number, batch in enumerate(self._batches.of(job.source, size)):
                labels = batch[features.LABEL].numpy()
                for images in views.of(batch[features.IMAGE], job.source, number):
                    codes = self._signature(images=images)["codes"].numpy()
                    writer.write({features.CODES: self._checked(codes), features.LABEL: labels})
                    held.count_labels(labels)
                    self._images.inc(len(codes))
        held.files = {os.path.basename(job.target): writer.contents}
        yield held

    def _checked(self, codes: np.ndarray) -> np.ndarray:
        """The codes as they are stored; PipelineError where the codebook has not all of them."""
        if not 0 <= codes.min() <= codes.max() < self._num_codes:
            raise PipelineError(
                f"{self._model_path} makes codes {codes.min()} to {codes.max()}, but its codebook "
                f"has {self._num_codes}; train it with the same model.quantizer.num_codes"
            )
        return codes.astype(features.code_dtype(self._num_codes))
