"""What is measured of a kind of data besides its pixels, made ready for the workers."""

from __future__ import annotations

from dataclasses import dataclass

from absl import logging
from tfx import types

from components.errors import PipelineError
from components.evaluator import speakers, speech
from components.evaluator.decoding import signatures_of
from components.evaluator.gate import CONVERSION, GateConfig
from components.kinds import AudioKind, ImageKind
from models.audio.speaker_judge import SpeakerJudge


@dataclass(frozen=True)
class Besides:
    """What the workers need for it; of images nothing.

    Attributes:
        names: of the metrics.
        sound: what the data are, if they are sound.
        judge: of voices; None where none are converted.
    """

    names: tuple[str, ...] = ()
    sound: AudioKind | None = None
    judge: SpeakerJudge | None = None


def besides_of(
    examples: types.Artifact, kind: ImageKind | AudioKind, candidate: str, gate: GateConfig
) -> Besides:
    """What is measured of the candidate.

    Args:
        examples: transformed Examples.
        kind: what they hold.
        candidate: its combined SavedModel.
        gate: thresholds.

    Raises:
        PipelineError: the gate names what these data do not have, or they are damaged.
    """
    if not isinstance(kind, AudioKind):
        return Besides()
    conditional = "labels" in signatures_of(candidate)["decode"].inputs
    names = speech.measured(kind, conditional, gate.phones is not None)
    judge = speakers.judge_of(examples, kind) if conditional else None
    if conditional and judge is None:
        names = tuple(name for name in names if name not in CONVERSION)
        why = (
            f"no voice is converted, as the split {speakers.SPLIT} of {examples.uri} does not have "
            "two speakers"
        )
        for name in gate.thresholds:
            if name in CONVERSION:
                raise PipelineError(
                    f"gate.thresholds.{name}: {why}; label them, or remove this threshold"
                )
        logging.warning("%s: %s.", ", ".join(CONVERSION), why)
    return Besides(names, kind, judge)
