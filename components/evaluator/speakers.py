"""The judge of voices for an evaluation: it learns from a few thousand windows of training."""

from __future__ import annotations

import math

import numpy as np
from tfx import types

from components import contents, features, per_file
from components.kinds import AudioKind
from components.stored_images import parser
from models.audio.speaker_judge import SpeakerJudge, learned, spoken_rows

# The split that it learns from.
SPLIT = "train"
# Windows that it learns from: so many, in so many bytes, at most; but one of each speaker.
_MOST_WINDOWS, _MOST_BYTES = 4096, 2**26
# Windows that are read at a time.
_AT_ONCE = 256


def judge_of(examples: types.Artifact, kind: AudioKind, seed: int = 0) -> SpeakerJudge | None:
    """A judge of the speakers of the training split.

    The split is read once, a few windows at a time. What is kept of it is bounded, and divided
    evenly among the speakers; which windows of a speaker these are, the seed decides.

    Args:
        examples: transformed Examples.
        kind: what they hold.
        seed: of the choice, and of the judge.

    Returns:
        None where there are no two speakers to tell apart.

    Raises:
        PipelineError: a file is damaged, or does not hold such spectrograms.
    """
    held = contents.read(examples.uri).splits.get(SPLIT)
    counts = held.labels if held else None
    counts = {label: n for label, n in (counts or {}).items() if label != features.NO_LABEL and n}
    if len(counts) < 2:
        return None
    chosen = _chosen(counts, kind, np.random.default_rng(seed))
    images, labels = _windows(examples, kind, chosen)
    spoken = spoken_rows(images, kind.audio)
    if len(np.unique(labels[spoken.any(axis=1)])) < 2:
        return None
    return learned(images, labels, spoken, seed)


def _chosen(
    counts: dict[int, int], kind: AudioKind, random: np.random.Generator
) -> dict[int, np.ndarray]:
    """Of each label, which of its windows are kept, by their number in the order of reading."""
    most = min(_MOST_WINDOWS, _MOST_BYTES // math.prod(kind.shape))
    share = max(1, most // len(counts))
    return {
        label: np.sort(random.choice(count, min(count, share), replace=False))
        for label, count in sorted(counts.items())
    }


def _windows(
    examples: types.Artifact, kind: AudioKind, chosen: dict[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The spectrograms that are kept, uint8 `[n, T, mels, 1]`, and their labels, int64 `[n]`."""
    rows, mels, _ = kind.shape
    batches = per_file.Batches(
        parser(kind.shape),
        wrong=f"does not hold spectrograms of {rows}×{mels}; run Transform again",
        again="run Transform again",
    )
    seen = dict.fromkeys(chosen, 0)
    images, labels = [], []
    for file in per_file.files_of(examples, SPLIT):
        for batch in batches.of(file, _AT_ONCE):
            own = batch[features.LABEL].numpy()
            kept = np.zeros(len(own), bool)
            for label in np.unique(own[own != features.NO_LABEL]).tolist():
                places = np.flatnonzero(own == label)
                kept[places] = np.isin(seen[label] + np.arange(len(places)), chosen[label])
                seen[label] += len(places)
            if kept.any():
                images.append(batch[features.IMAGE].numpy()[kept])
                labels.append(own[kept])
    return np.concatenate(images), np.concatenate(labels)
