"""Who is taken for whom: counts of voices, beside the results of an evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tfx.dsl.io import fileio

from components.evaluator.heard import VOICES
from models.audio.speaker_judge import NOBODY

# Whose windows are judged, in the order of `VOICES` behind the speaker.
JUDGED = ("original", "reconstructed", "converted")
FILE = "speakers.json"

_COUNTS = "voices"
_LINES = "voice_counts"


def evaluator(run_after: str, model_name: str) -> tfma.evaluators.Evaluator:
    """Counts the voices that are heard in what a model makes, over the complete split.

    Args:
        run_after: stage that adds them to the predictions, whole batches of them.
        model_name: of TFMA; of several models, the one that is counted.
    """
    counts = (
        beam.FlatMap(_pairs, model_name)
        | beam.CombinePerKey(sum)
        | "AsText" >> beam.Map(json.dumps)
    )
    return tfma.evaluators.Evaluator("CountVoices", run_after, _Counted(counts))


def writer(evaluation_uri: str) -> tfma.writers.Writer:
    """Leaves what the evaluator counted, for `collect`."""
    text = beam.io.WriteToText(os.path.join(evaluation_uri, _LINES))
    return tfma.writers.Writer("WriteVoices", tfma.writers.Write(key=_COUNTS, ptransform=text))


def collect(evaluation_uri: str) -> None:
    """Writes one file of what the workers left: `speakers.json`."""
    counts: dict[str, list[list[int]]] = {name: [] for name in JUDGED}
    for path in sorted(fileio.glob(os.path.join(evaluation_uri, _LINES + "*"))):
        with fileio.open(path) as file:
            for (judged, speaker, heard), count in map(json.loads, file.read().splitlines()):
                counts[judged].append([speaker, heard, count])
        fileio.remove(path)
    found = {name: sorted(each) for name, each in counts.items()}
    with fileio.open(os.path.join(evaluation_uri, FILE), "w") as file:
        file.write(json.dumps(found) + "\n")


def read(evaluation_uri: str) -> dict[str, list[list[int]]] | None:
    """Whose voice was heard as whose, in windows of the whole split.

    Returns:
        each of `JUDGED` -> [speaker, who is heard, windows], sorted; what does not occur is left
        out. None where no voices were judged.
    """
    path = os.path.join(evaluation_uri, FILE)
    if not fileio.exists(path):
        return None
    with fileio.open(path) as file:
        return json.loads(file.read())


class _Counted(beam.PTransform):
    """Names the result, as TFMA asks of evaluators."""

    def __init__(self, counts: beam.PTransform):
        super().__init__()
        self._counts = counts

    def expand(self, extracts: beam.PCollection) -> dict[str, beam.PCollection]:
        return {_COUNTS: extracts | "Count" >> self._counts}


def _pairs(extracts: tfma.Extracts, model_name: str) -> Iterator[tuple[tuple[str, int, int], int]]:
    predictions: Mapping[str, Any] = extracts[tfma.PREDICTIONS_KEY]
    voices = np.asarray(predictions.get(model_name, predictions)[VOICES])
    for place, judged in enumerate(JUDGED, start=1):
        own, heard = voices[:, 0], voices[:, place]
        found = np.stack([own, heard], -1)[(own != NOBODY) & (heard != NOBODY)]
        rows, counts = np.unique(found, axis=0, return_counts=True)
        for (speaker, each), count in zip(rows.tolist(), counts.tolist(), strict=True):
            yield (judged, speaker, each), count
