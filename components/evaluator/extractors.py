"""How held-out images reach the metrics: in batches that the models can take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_model_analysis as tfma
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from components import features
from models.device import full_float32

# Output that tells the metrics not to follow how often each code was used.
COUNT_CODES = "count_codes"

_OVERALL = ()
# Codebooks up to this size have their codes counted label by label: with 1,000 labels and two
# models 128 MB. 65,536 codes would take 1 GB, to say of a few images which codes they lack.
_MOST_COUNTED = 8192


def custom_extractors(
    eval_shared_model: Any, eval_config: tfma.EvalConfig, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """The extractors of TFX's Evaluator hook of this name.

    TFMA's own slicing takes batches apart and walks over the images one by one; here a batch is
    split into one batch per label, and the whole batch counts for the overall slice. Batches are
    bounded, and what is kept per label is, too.
    """
    del tensor_adapter_config
    at_once = eval_config.model_specs[0].inference_batch_size
    return [
        tfma.extractors.Extractor("EvenBatches", beam.ParDo(_EvenBatches(at_once))),
        tfma.extractors.FeaturesExtractor(eval_config=eval_config),
        tfma.extractors.PredictionsExtractor(
            eval_config=eval_config, eval_shared_model=eval_shared_model
        ),
        # The metrics run after the stage of this name.
        tfma.extractors.Extractor(
            tfma.extractors.SLICE_KEY_EXTRACTOR_STAGE_NAME, beam.FlatMap(_sliced)
        ),
    ]


class _EvenBatches(beam.DoFn):
    """Regroups batches into batches of exactly `size` images; the last one of a bundle is smaller.

    TFMA's reader makes its batches as large as the machine is fast at that moment. A network's
    results depend on the batch in their last bits, so those would differ from run to run.
    """

    def __init__(self, size: int):
        self._size = size

    def setup(self) -> None:
        # In every process that goes on to compute the predictions.
        full_float32()

    def start_bundle(self) -> None:
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        records: pa.RecordBatch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
        while records.num_rows:
            part = records.slice(0, self._size - self._rows)
            records = records.slice(part.num_rows)
            self._waiting.append(part)
            self._rows += part.num_rows
            if self._rows == self._size:
                yield self._batch()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._rows:
            yield GlobalWindows.windowed_value(self._batch())

    def _batch(self) -> tfma.Extracts:
        (batch,) = pa.Table.from_batches(self._waiting).combine_chunks().to_batches()
        self._waiting, self._rows = [], 0
        return {tfma.ARROW_RECORD_BATCH_KEY: batch}


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
    if "codes" not in predictions:
        return {model: _take(outputs, chosen) for model, outputs in predictions.items()}
    taken = {name: values[chosen] for name, values in predictions.items()}
    if int(np.max(predictions["num_codes"])) > _MOST_COUNTED:
        taken[COUNT_CODES] = np.zeros(np.count_nonzero(chosen), bool)
    return taken
