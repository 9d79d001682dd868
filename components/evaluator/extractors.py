"""How held-out images reach the metrics: in batches that the models can take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma

from components import features, per_file
from components.evaluator.besides import Besides
from components.evaluator.features import BATCH, NAMES, Featured, batch_number
from components.evaluator.heard import Heard
from components.evaluator.phones import Phones
from components.features import Pixels
from components.record_files import encode_examples
from components.stored_images import parser
from models.device import full_float32

# Output that tells the metrics not to follow how often each code was used.
COUNT_CODES = "count_codes"
# The stage behind which predictions say what was heard.
HEARD = "ExtractHeard"

_OVERALL = ()
# Of the signature `evaluate`.
_INPUT = "examples"
# Codebooks up to this size, all of a model together, have their codes counted label by label: with
# 1,000 labels and two models 128 MB. 65,536 codes would take 1 GB, to say of a few images which
# codes they lack.
_MOST_COUNTED = 8192


def extractors(
    models: list[tfma.EvalSharedModel],
    config: tfma.EvalConfig,
    image: tuple[int, int, int],
    features_uri: str | None = None,
    besides: Besides | None = None,
    phones: Phones | None = None,
) -> list[tfma.extractors.Extractor]:
    """From the batches of `HeldOut` to predictions for each slice.

    TFMA's own slicing takes batches apart and walks over the images one by one; here a batch is
    split into one batch per label, and the whole batch counts for the overall slice. What is kept
    per label is bounded.

    Args:
        models: the candidate and, where there is one, the last release.
        config: of TFMA.
        image: H, W, C.
        features_uri: of the network in whose features Fréchet distances are measured, if any.
        besides: what the kind of data is measured by.
        phones: of each model's codes, where they are measured.
    """
    paths = {model.model_name: model.model_path for model in models}
    added: dict[str, beam.DoFn] = {}
    if features_uri is not None:
        added["ExtractFeatures"] = Featured(paths, features_uri, image)
    if besides is not None and besides.sound is not None:
        added[HEARD] = Heard(paths, besides.sound, besides.judge, phones)
    return [
        tfma.extractors.PredictionsExtractor(
            eval_config=config, eval_shared_model=models[0] if len(models) == 1 else models
        ),
        *(tfma.extractors.Extractor(name, beam.ParDo(each)) for name, each in added.items()),
        # The metrics run after the stage of this name.
        tfma.extractors.Extractor(
            tfma.extractors.SLICE_KEY_EXTRACTOR_STAGE_NAME, beam.FlatMap(_sliced)
        ),
    ]


class HeldOut(beam.DoFn):
    """Reads a file in batches, as TFMA's extracts: serialized Examples of raw pixels, and labels.

    A network's results depend on the batch in their last bits. Batches are therefore of one size,
    and begin anew with each file, wherever it is read.

    Args:
        size: images in a batch, which bounds the memory.
        shape: H, W, C of the images.
        pixels: how the files hold them.
    """

    def __init__(self, size: int, shape: tuple[int, int, int], pixels: Pixels):
        self._size, self._shape, self._pixels = size, shape, pixels

    def setup(self) -> None:
        # In every process that goes on to compute the predictions.
        full_float32()
        read = parser(self._shape, self._pixels)

        def parse(records: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"records": records, **read(records)}

        size = "×".join(map(str, self._shape))
        again = "run Transform again"
        wrong = f"does not hold images of {size}; {again}"
        self._batches = per_file.Batches(parse, wrong, again)

    def process(self, file: str) -> Iterator[tfma.Extracts]:
        for number, batch in enumerate(self._batches.of(file, self._size)):
            labels = batch[features.LABEL].numpy()
            if self._pixels == "stored":
                records = batch["records"].numpy()
            else:
                # Every release takes raw pixels, those of before included.
                images = batch[features.IMAGE].numpy()
                encoded = encode_examples({features.IMAGE: images, features.LABEL: labels})
                records = np.array(list(encoded), object)
            yield {
                tfma.INPUT_KEY: records,
                # By the name of the signature's input: what TFMA gives a signature without one
                # TensorFlow refuses at first, in an error that spells out all of the bytes.
                tfma.FEATURES_KEY: {
                    _INPUT: records,
                    features.LABEL: labels[:, np.newaxis],
                    BATCH: np.full([len(labels), 1], batch_number(file, number)),
                },
            }


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
    taken = {name: each[chosen] for name, each in predictions.items() if name not in NAMES}
    codebooks = predictions.get("codebooks", 1)  # not told by a release of before
    if int(np.max(predictions["num_codes"]) * np.max(codebooks)) > _MOST_COUNTED:
        taken[COUNT_CODES] = np.zeros(np.count_nonzero(chosen), bool)
    return taken
