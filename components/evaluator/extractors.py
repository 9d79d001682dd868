"""How held-out images reach the metrics: in batches that the models can take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_model_analysis as tfma

from components import features

_OVERALL = ()


def custom_extractors(
    eval_shared_model: Any, eval_config: tfma.EvalConfig, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """The extractors of TFX's Evaluator hook of this name.

    TFMA's own slicing takes batches apart and walks over the images one by one; here a batch is
    split into one batch per label, and the whole batch counts for the overall slice.
    """
    del tensor_adapter_config
    at_once = eval_config.model_specs[0].inference_batch_size
    return [
        tfma.extractors.Extractor("BoundBatch", beam.FlatMap(_bounded, at_once)),
        tfma.extractors.FeaturesExtractor(eval_config=eval_config),
        tfma.extractors.PredictionsExtractor(
            eval_config=eval_config, eval_shared_model=eval_shared_model
        ),
        # The metrics run after the stage of this name.
        tfma.extractors.Extractor(
            tfma.extractors.SLICE_KEY_EXTRACTOR_STAGE_NAME, beam.FlatMap(_sliced)
        ),
    ]


def _bounded(extracts: tfma.Extracts, size: int) -> Iterator[tfma.Extracts]:
    """Splits a batch into batches of at most `size` images, without copying."""
    records: pa.RecordBatch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    for start in range(0, records.num_rows, size):
        yield {**extracts, tfma.ARROW_RECORD_BATCH_KEY: records.slice(start, size)}


def _sliced(extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
    """Yields the batch for the overall slice, and its images of each label for the label's."""
    predictions = extracts[tfma.PREDICTIONS_KEY]
    yield _extracts(_OVERALL, predictions)
    labels = np.asarray(extracts[tfma.FEATURES_KEY][features.LABEL]).reshape(-1)
    for label in np.unique(labels):
        yield _extracts(((features.LABEL, int(label)),), _take(predictions, labels == label))


def _extracts(slice_key: tuple, predictions: Any) -> tfma.Extracts:
    # Slice keys are tuples, which numpy would take for a dimension.
    keys = np.empty(1, dtype=object)
    keys[0] = slice_key
    return {tfma.SLICE_KEY_TYPES_KEY: keys, tfma.PREDICTIONS_KEY: predictions}


def _take(predictions: Any, chosen: np.ndarray) -> Any:
    """Of (nested dicts, one level per model, of) arrays [N, ...] the chosen rows."""
    if isinstance(predictions, dict):
        return {name: _take(value, chosen) for name, value in predictions.items()}
    return predictions[chosen]
