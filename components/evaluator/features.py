"""Features of held-out images, of their reconstructions and of samples, for `frechet`."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from apache_beam.utils import shared

from components import features
from components.evaluator.decoding import decoded, known_labels
from components.evaluator.feature_model import FeatureModel
from components.stored_images import parser
from models.device import full_float32
from models.exported import pixels_of

# Among a model's outputs: float64 [N, F] of each image. The last is missing of a model that does
# not say how many classes it knows.
ORIGINALS, RECONSTRUCTIONS, SAMPLES = NAMES = (
    "features_of_originals",
    "features_of_reconstructions",
    "features_of_samples",
)
# Among a batch's features: int64 [N, 1], all alike, a number that no other batch has.
BATCH = "batch"
_TEMPERATURE = 1.0


def batch_number(file: str, number: int) -> int:
    """Of a batch of a file; by the file's name, as artifacts lie elsewhere on each machine."""
    return zlib.crc32(file.rsplit("/", 1)[-1].encode()) * 2**30 + number


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """What all threads of a process use: the network that makes features, and the models."""

    network: FeatureModel
    models: dict[str, Any]


class Featured(beam.DoFn):
    """Adds features to the predictions of each model.

    Reconstructions are what the model's signature `decode` makes of its codes. Samples are drawn by
    its signature `sample`, as many as there are held-out images and with their labels, from a seed
    that the batch gives, so that they are the same wherever the batch is computed.

    Args:
        models: name -> path of the combined SavedModel; one model is without name.
        uri: of the network that makes the features.
        image: H, W, C.
    """

    def __init__(self, models: Mapping[str, str], uri: str, image: tuple[int, int, int]):
        self._paths, self._uri, self._image = dict(models), uri, image
        self._shared = shared.Shared()

    def setup(self) -> None:
        full_float32()
        # Once per process, however many threads work in it.
        self._loaded = self._shared.acquire(self._load)
        self._parse = parser(self._image)

    def _load(self) -> _Loaded:
        models = {name: tf.saved_model.load(path) for name, path in self._paths.items()}
        return _Loaded(FeatureModel(self._uri, self._image), models)

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        images = self._parse(tf.constant(extracts[tfma.INPUT_KEY]))[features.IMAGE].numpy()
        network = self._loaded.network
        originals = network(images)
        labels = np.asarray(extracts[tfma.FEATURES_KEY][features.LABEL]).reshape(-1)
        batch = int(np.max(extracts[tfma.FEATURES_KEY][BATCH]))
        predictions = extracts[tfma.PREDICTIONS_KEY]
        added = {}
        for name, model in self._loaded.models.items():
            outputs = predictions.get(name, predictions)
            found = {**outputs, ORIGINALS: originals}
            # A label that training never saw says nothing.
            known = known_labels(outputs, labels)
            found[RECONSTRUCTIONS] = network(pixels_of(decoded(model, outputs["codes"], known)))
            if "num_classes" in outputs:
                found[SAMPLES] = network(_sampled(model, known, batch))
            added[name] = found
        whole = added if len(added) > 1 else next(iter(added.values()))
        yield {**extracts, tfma.PREDICTIONS_KEY: whole}


def _sampled(model: Any, labels: np.ndarray, batch: int) -> np.ndarray:
    drawn = model.signatures["sample"](
        labels=tf.constant(labels, tf.int32),
        seed=tf.constant(batch, tf.int64),
        temperature=tf.constant(_TEMPERATURE),
    )
    return pixels_of(drawn).numpy()
