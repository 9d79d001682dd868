"""Which phone each code stands for, learned from the training split."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.utils import shared
from tfx import types

from components import features, per_file
from components.errors import PipelineError
from components.evaluator import decoding
from components.evaluator.alignments import NO_PHONE, Alignments, moments
from components.evaluator.ratios import each
from components.kinds import AudioKind
from components.stored_images import parser
from models.device import full_float32

# The split that the phones of codes are learned from.
SPLIT = "train"
_WHERE = {
    features.ID: tf.io.FixedLenFeature([], tf.string, ""),
    features.WINDOW: tf.io.FixedLenFeature([], tf.int64, 0),
}


@dataclass(frozen=True)
class Phones:
    """For each model, the phones of its codes (van den Oord et al. 2017, section 4.2).

    Attributes:
        alignments: what is said when.
        of_code: name of a model -> the phone that each code most often stands for in the training
            split, int64; codes that do not occur there stand for the most frequent phone of all.
        most_frequent: phone of the training split.
    """

    alignments: Alignments
    of_code: Mapping[str, np.ndarray]
    most_frequent: int

    def measured(
        self, model: str, codes: np.ndarray, records: tf.Tensor, kind: AudioKind
    ) -> dict[str, np.ndarray]:
        """What the metrics of phones are made of (`ratios`), of windows.

        Args:
            model: its name.
            codes: of the windows, one a moment: `[N, T']`.
            records: serialized Examples, string `[N]`.
            kind: of the data.
        """
        phones = _phones(records, codes.shape[1], self.alignments, kind)
        known = phones != NO_PHONE
        of_code = self.of_code[model]
        meant = np.where(
            codes < len(of_code), of_code[np.minimum(codes, len(of_code) - 1)], self.most_frequent
        )
        count = known.sum(axis=1).astype(np.float64)
        right = {
            "phoneme_accuracy": (meant == phones) & known,
            "phoneme_majority": phones == self.most_frequent,
        }
        return {name: each(those.sum(axis=1) * 1.0, count) for name, those in right.items()}


def learned(
    make_pipeline: Callable[[], beam.Pipeline],
    examples: types.Artifact,
    kind: AudioKind,
    models: Mapping[str, str],
    alignments: Alignments,
    batch_size: int,
    scratch: str,
) -> Phones:
    """Counts, with the workers of the runner, which phones codes stand for in the training split.

    Args:
        make_pipeline: of Beam.
        examples: transformed Examples.
        kind: what they hold.
        models: name -> path of the combined SavedModel; of one code a moment.
        alignments: what is said when.
        batch_size: windows that a model is given at a time.
        scratch: folder that all workers and this process see.

    Raises:
        PipelineError: no utterance of the split is among the alignments, or a file is damaged.
    """
    work = (
        beam.ParDo(_Count(models, kind, alignments, batch_size))
        | beam.CombinePerKey(sum)
        | "AsText" >> beam.Map(json.dumps)
    )
    files = list(per_file.files_of(examples, SPLIT))
    found = [json.loads(line) for line in per_file.lines(make_pipeline, files, work, scratch)]
    if not found:
        raise PipelineError(
            f"gate.phones: it has no utterance of the split {SPLIT} of {examples.uri}; their ids "
            "must be the same"
        )
    most = max(code for (_, code, _), _ in found) + 1
    counts = {name: np.zeros([most, len(alignments.names)], np.int64) for name in models}
    for (name, code, phone), count in found:
        counts[name][code, phone] = count
    # The same for all models, as what is said does not depend on them.
    most_frequent = int(next(iter(counts.values())).sum(axis=0).argmax())
    of_code = {
        name: np.where(each.any(axis=1), each.argmax(axis=1), most_frequent)
        for name, each in counts.items()
    }
    return Phones(alignments, of_code, most_frequent)


def _phones(records: tf.Tensor, rows: int, alignments: Alignments, kind: AudioKind) -> np.ndarray:
    """What is said at the moments of windows, int64 `[N, rows]`; NO_PHONE where it is not known."""
    found = tf.io.parse_example(records, _WHERE)
    seconds = moments(found[features.WINDOW].numpy(), rows, kind.audio)
    pairs = zip(found[features.ID].numpy(), seconds, strict=True)
    return np.array([alignments.at(name, times) for name, times in pairs], np.int64)


class _Count(beam.DoFn):
    """Counts, of each model, how often its codes stand for which phones in a file."""

    def __init__(
        self, models: Mapping[str, str], kind: AudioKind, alignments: Alignments, batch_size: int
    ):
        self._paths, self._kind, self._alignments = dict(models), kind, alignments
        self._batch_size = batch_size
        self._shared = shared.Shared()

    def setup(self) -> None:
        full_float32()
        self._models = self._shared.acquire(lambda: decoding.load(self._paths))
        read = parser(self._kind.shape)
        self._batches = per_file.Batches(
            lambda records: {"records": records, **read(records)},
            wrong="does not hold spectrograms of this configuration; run Transform again",
            again="run Transform again",
        )

    def process(self, file: str) -> Iterator[tuple[tuple[str, int, int], int]]:
        for batch in self._batches.of(file, self._batch_size):
            for name, model in self._models.items():
                codes = model.signatures["pixels"](images=batch[features.IMAGE])["codes"].numpy()
                codes = codes.reshape(len(codes), -1)  # (n, T')
                said = _phones(batch["records"], codes.shape[1], self._alignments, self._kind)
                pairs = np.stack([codes, said], -1)[said != NO_PHONE]
                rows, counts = np.unique(pairs, axis=0, return_counts=True)
                for (code, phone), count in zip(rows.tolist(), counts.tolist(), strict=True):
                    yield (name, code, phone), count
