"""Who says which phone when: the file that `gate.phones` names."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tfx.dsl.io import fileio

from components.errors import PipelineError
from models.audio.config import AudioConfig

NO_PHONE = -1
_WANTED = (
    "gate.phones must be a JSON file of utterances' ids, each with a list of [start, end, phone] "
    "in seconds, one after the other"
)


@dataclass(frozen=True)
class Alignments:
    """Phones of utterances, by number.

    Attributes:
        names: of the phones, sorted; what is counted are their numbers.
        utterances: id -> starts and ends in seconds, float64 `[n]`, and numbers, int64 `[n]`.
    """

    names: tuple[str, ...]
    utterances: Mapping[bytes, tuple[np.ndarray, np.ndarray, np.ndarray]]

    def at(self, utterance: bytes, seconds: np.ndarray) -> np.ndarray:
        """The phones of moments, int64 of the same shape; NO_PHONE where nothing is known."""
        if utterance not in self.utterances:
            return np.full(seconds.shape, NO_PHONE)
        starts, ends, phones = self.utterances[utterance]
        place = np.searchsorted(starts, seconds, side="right") - 1
        inside = (place >= 0) & (seconds < ends[place])
        return np.where(inside, phones[place], NO_PHONE)


def moments(window: np.ndarray, rows: int, audio: AudioConfig) -> np.ndarray:
    """The middles of what `rows` rows of codes stand for, in the recording.

    Args:
        window: numbers of windows, int64 `[N]`.
        rows: of codes in a window.
        audio: sizes.

    Returns:
        seconds, float64 `[N, rows]`.
    """
    frames = window[:, None] * audio.frames_between + (np.arange(rows) + 0.5) * audio.frames / rows
    return frames * audio.hop / audio.rate


def read(path: str) -> Alignments:
    """Reads alignments, as `vqvae data speech` writes them.

    Raises:
        PipelineError: there is no such file, or something else is in it.
    """
    try:
        with fileio.open(path) as file:
            held = json.loads(file.read())
        rows = {name.encode(): list(zip(*phones, strict=True)) for name, phones in held.items()}
        names = tuple(sorted({name for _, _, phones in rows.values() for name in phones}))
        number = {name: place for place, name in enumerate(names)}
        utterances = {
            name: (
                np.array(starts, np.float64),
                np.array(ends, np.float64),
                np.array([number[phone] for phone in phones], np.int64),
            )
            for name, (starts, ends, phones) in rows.items()
        }
    except (OSError, fileio.NotFoundError, tf.errors.OpError) as error:
        raise PipelineError(f"{_WANTED}. {path}: there is none that can be read") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise PipelineError(f"{_WANTED}. {path} is not") from error
    for name, (starts, ends, _) in utterances.items():
        if np.any(starts >= ends) or np.any(ends[:-1] > starts[1:]):
            raise PipelineError(f"{_WANTED}. {path}: those of {name.decode()} are not")
    if not names:
        raise PipelineError(f"{_WANTED}. {path} has none")
    return Alignments(names, utterances)


def fingerprint(path: str) -> str:
    """Of what is in the file, where it is at hand; else empty."""
    if not os.path.isfile(path):
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
