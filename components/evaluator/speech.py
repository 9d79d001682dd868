"""What is measured of a kind of data besides what is measured of its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.evaluator.gate import CONVERSION, PHONES, SPEECH
from models.audio import stoi

if TYPE_CHECKING:  # it imports TensorFlow
    from components.kinds import AudioKind, ImageKind


def measured(
    kind: ImageKind | AudioKind, conditional: bool, phones: bool = False
) -> tuple[str, ...]:
    """Names of the metrics; of images none.

    Args:
        kind: of the data.
        conditional: the decoder is told labels, so that a voice can become another.
        phones: it is known who says which phone when.
    """
    if kind.kind != "audio":
        return ()
    found = [name for name in SPEECH if name != "stoi" or _has_stoi(kind)]
    return (*found, *(CONVERSION if conditional else ()), *(PHONES if phones else ()))


def why_not(name: str, kind: ImageKind | AudioKind) -> str:
    """Why a metric of speech is not among those; empty for other metrics."""
    if name not in (*SPEECH, *CONVERSION):
        return ""
    if kind.kind != "audio":
        return "it is measured of sound, and data.kind is image"
    if name == "stoi" and not _has_stoi(kind):
        return (
            f"windows of {_seconds(kind):.3g} s are shorter than the {stoi.SHORTEST:.3g} s that "
            "STOI needs (data.audio.frames)"
        )
    return "voices are converted where model.decoder.conditional is true, and it is false"


def _has_stoi(kind: AudioKind) -> bool:
    return _seconds(kind) >= stoi.SHORTEST


def _seconds(kind: AudioKind) -> float:
    return kind.audio.window_samples / kind.audio.rate
