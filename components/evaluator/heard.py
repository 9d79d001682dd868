"""What of held-out speech is heard again: in its reconstruction, and in another speaker's voice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from apache_beam.utils import shared

from components import features
from components.audio.wav import floats, samples_of
from components.evaluator import decoding
from components.evaluator.phones import Phones
from components.evaluator.ratios import each
from components.kinds import AudioKind
from components.stored_images import parser
from models.audio.log_spectral_distance import log_spectral_distance
from models.audio.speaker_judge import NOBODY, SpeakerJudge, spoken_rows
from models.audio.stoi import stoi
from models.device import full_float32
from models.exported import pixels_of, takes_labels

# Among a model's outputs: int64 [N, 4], whose voice a window is, and whose is heard in it, in its
# reconstruction and in its conversion to the next speaker; NOBODY where that is not judged.
VOICES = "voices"
_SPEC = {features.AUDIO: tf.io.FixedLenFeature([], tf.string)}


class Heard(beam.DoFn):
    """Adds to the predictions of each model what metrics of speech are made of (`ratios`).

    Reconstructions are what `decode` makes of a window's codes, with its own speaker where the
    decoder is told one; they count for as long as there is sound. To convert, the codes are decoded
    with the next speaker of those that the judge knows, after the last the first.

    Args:
        models: name -> path of the combined SavedModel; one model is without name.
        kind: of the data.
        judge: of voices; None where none are converted.
        phones: of each model's codes; None where they are not known.
    """

    def __init__(
        self,
        models: Mapping[str, str],
        kind: AudioKind,
        judge: SpeakerJudge | None,
        phones: Phones | None = None,
    ):
        self._paths, self._kind = dict(models), kind
        self._judge, self._phones = judge, phones
        self._shared = shared.Shared()

    def setup(self) -> None:
        full_float32()
        # Once per process, however many threads work in it.
        self._models = self._shared.acquire(lambda: decoding.load(self._paths))
        self._parse = parser(self._kind.shape)

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        records = tf.constant(extracts[tfma.INPUT_KEY])
        originals = self._originals(tf.io.parse_example(records, _SPEC)[features.AUDIO].numpy())
        images = self._parse(records)[features.IMAGE].numpy()
        labels = np.asarray(extracts[tfma.FEATURES_KEY][features.LABEL]).reshape(-1)
        predictions = extracts[tfma.PREDICTIONS_KEY]
        added = {}
        for name, model in self._models.items():
            outputs = predictions.get(name, predictions)
            own = decoding.known_labels(outputs, labels)
            made = decoding.decoded(model, outputs["codes"], own)
            added[name] = {
                **outputs,
                **self._bits(outputs),
                **self._waveforms(originals, made["audio"]),
            }
            if self._judge is not None:
                reconstructed = pixels_of(made)
                added[name] |= self._voices(model, outputs, images, labels, reconstructed)
            if self._phones is not None and name in self._phones.of_code:
                codes = np.asarray(outputs["codes"])
                added[name] |= self._phones.measured(name, codes, records, self._kind)
        whole = added if len(added) > 1 else next(iter(added.values()))
        yield {**extracts, tfma.PREDICTIONS_KEY: whole}

    def _originals(self, files: np.ndarray) -> list[np.ndarray]:
        """float64 `[samples]` of each window, without what it is padded with."""
        found = []
        for file in files:
            samples = samples_of(file, self._kind.audio.rate)
            if samples is None:
                raise ValueError("`audio` must be what ImageExampleGen writes")
            found.append(floats(samples))
        return found

    def _bits(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Of codes a second, under the prior and without one."""
        audio = self._kind.audio
        seconds = audio.window_samples / audio.rate
        codes = np.prod(np.shape(outputs["codes"])[1:])
        plain = codes * np.log2(np.asarray(outputs["num_codes"], np.float64))
        return {
            "bits_per_second": each(np.asarray(outputs["prior_bits"], np.float64), seconds),
            "code_bits_per_second": each(plain, seconds),
        }

    def _waveforms(self, originals: list[np.ndarray], made: np.ndarray) -> dict[str, np.ndarray]:
        """Distances of waveforms. A loop, since no two windows need have the same length."""
        rate = self._kind.audio.rate
        pairs = [(x, y[: len(x)]) for x, y in zip(originals, made, strict=True)]
        return {
            "stoi": each(np.array([stoi(x, y, rate) for x, y in pairs])),
            "log_spectral_distance": each(
                np.array([log_spectral_distance(x, y, rate) for x, y in pairs])
            ),
        }

    def _voices(
        self,
        model: Any,
        outputs: Mapping[str, np.ndarray],
        images: np.ndarray,
        labels: np.ndarray,
        reconstructed: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Who is heard in the windows, and in what the model makes of them."""
        judge = self._judge
        assert judge is not None
        spoken = spoken_rows(images, self._kind.audio)
        known = np.isin(labels, judge.speakers) & spoken.any(axis=1)
        voices = np.full([len(labels), 4], NOBODY)
        voices[known, 0] = labels[known]
        voices[known, 1] = judge(images[known], spoken[known])
        voices[known, 2] = judge(reconstructed[known], spoken[known])
        found = {
            VOICES: voices,
            "speaker_accuracy": _share(voices[:, 1] == labels, known),
        }
        if not takes_labels(model.signatures["decode"]):
            return found
        place = np.searchsorted(judge.speakers, labels)
        targets = judge.speakers[(place + 1) % len(judge.speakers)]
        # Not all of its speakers need be known to a release of before.
        can = known & (np.maximum(labels, targets) < np.max(outputs["num_classes"]))
        content = np.zeros([len(labels), 2])
        if can.any():
            codes = np.asarray(outputs["codes"])[can]
            converted = pixels_of(decoding.decoded(model, codes, targets[can]))
            voices[can, 3] = judge(converted, spoken[can])
            content[can] = _kept(model, codes, converted, spoken[can])
        return {
            **found,
            "conversion_target": _share(voices[:, 3] == targets, can),
            "conversion_source": _share(voices[:, 3] == labels, can),
            "conversion_content": content,
        }


def _share(those: np.ndarray, among: np.ndarray) -> np.ndarray:
    return np.stack([those & among, among], axis=-1).astype(np.float64)


def _kept(model: Any, codes: np.ndarray, images: np.ndarray, spoken: np.ndarray) -> np.ndarray:
    """How many codes images are encoded to again, of those of rows that count; `[N, 2]`."""
    again = model.signatures["pixels"](images=tf.constant(images))["codes"].numpy()
    rows = again.shape[:2]
    moments = spoken.reshape(*rows, -1).any(axis=-1)  # (N, T')
    same = np.equal(again.reshape(*rows, -1), codes.reshape(*rows, -1)).mean(axis=-1)
    return np.stack([(same * moments).sum(axis=1), moments.sum(axis=1)], axis=-1)
