"""The data set `speech`: prompts in four languages and sentences in one, by five speakers, 16 kHz.

What is said is held out for all who say it: a prompt of the eval split is in no language in the
train split. `utterances.jsonl` has a line for each record, `phones.json` the phones and their
times where they are known; both are joined with the records by their `id`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from components.audio.inspected import inspected
from components.audio.limits import AudioLimits
from components.audio.normalised import normalised
from components.audio.unusable import UnusableAudio
from pipeline.config.config import ConfigError
from pipeline.datasets.facts import AudioSummary
from pipeline.datasets.in_order import in_order
from pipeline.datasets.source import EVAL, TRAIN, LeftOut, Source
from pipeline.datasets.speech_packages import PACKAGES, SPEAKERS, Spoken, installed, spoken
from pipeline.datasets.utterance import Utterance
from pipeline.progress import Progress

UTTERANCES, PHONES = "utterances.jsonl", "phones.json"
_ALLOWED = AudioLimits(rate=16_000)  # what all packages have


class _Heard(NamedTuple):
    """A recording that was looked at."""

    content: bytes  # hash
    seconds: float
    reason: str = ""  # why it cannot be used


def open_speech(source: Path | None, progress: Progress) -> Source:
    """Reads through the packages once and describes them.

    Args:
        source: folder that they are unpacked in; None for the installed ones.
        progress: told of the reading.

    Raises:
        ConfigError: a package is missing, or a file of it cannot be read.
    """
    found = installed(source)
    every = [each for package, folder in found.items() for each in spoken(package, folder)]
    kept: dict[str, list[tuple[Spoken, _Heard]]] = {TRAIN: [], EVAL: []}
    left_out: list[LeftOut] = []
    digest = hashlib.sha256(repr(SPEAKERS).encode())
    for done, (each, heard) in enumerate(in_order(_look, every), start=1):
        progress("reading", done, len(every))
        digest.update(repr((each.id, each.text, each.phones)).encode() + heard.content)
        if heard.reason:
            left_out.append(LeftOut(_file(each), heard.reason, damaged=True))
        else:
            kept[_split(each)].append((each, heard))
    for split in kept:
        if not kept[split]:
            raise ConfigError(f"speech: there are too few recordings to have any in {split}")
        # Not speaker after speaker, which would defeat a shuffle buffer.
        kept[split].sort(key=lambda pair: _hash(pair[0].id))
    return Source(
        name="speech",
        fingerprint=digest.hexdigest(),
        counts={split: len(pairs) for split, pairs in kept.items()},
        records=lambda split: (_utterance(*pair) for pair in kept[split]),
        label_names=SPEAKERS,
        skipped_files=len(left_out),
        skipped_example=left_out[0].file if left_out else "",
        damaged_files=len(left_out),
        left_out=lambda: iter(left_out),
        summary=lambda: AudioSummary(SPEAKERS, _licences()),
        side_files=lambda: _side_files(kept),
    )


def _split(each: Spoken) -> str:
    """A tenth of what is said, whoever says it."""
    return EVAL if _hash(each.prompt)[0] * 10 < 256 else TRAIN


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _look(each: Spoken) -> _Heard:
    data = _read(each)
    content = hashlib.sha256(data).digest()
    try:
        return _Heard(content, inspected(data, _ALLOWED, each.path.name).seconds)
    except UnusableAudio as error:
        return _Heard(content, 0.0, str(error))


def _utterance(each: Spoken, heard: _Heard) -> Utterance:
    data = _read(each)
    if hashlib.sha256(data).digest() != heard.content:
        raise ConfigError(f"{each.path}: changed while it was read; run it again")
    audio = normalised(data, _ALLOWED, each.path.name)
    label = SPEAKERS.index(each.package.speaker)
    return Utterance(
        audio, label, each.id.encode(), _ALLOWED.rate, heard.seconds, _file(each).encode()
    )


def _file(each: Spoken) -> str:
    return each.id + each.path.suffix


def _read(each: Spoken) -> bytes:
    try:
        return each.path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{each.path}: cannot be read: {error.strerror}") from error


def _licences() -> tuple[dict[str, str], ...]:
    return tuple(
        {
            "package": package.name,
            "speaker": package.speaker,
            "language": package.language,
            "licence": package.licence,
            "copyright": package.copyright,
        }
        for package in PACKAGES
    )


def _side_files(kept: dict[str, list[tuple[Spoken, _Heard]]]) -> Iterator[tuple[str, str]]:
    """Both in the order of the records."""
    lines, phones = [], []
    for split, pairs in kept.items():
        for each, heard in pairs:
            line = {
                "id": each.id,
                "split": split,
                "speaker": each.package.speaker,
                "language": each.package.language,
                "prompt": each.prompt,
                "seconds": round(heard.seconds, 3),
            }
            lines.append(_json(line | ({"text": each.text} if each.text else {})))
            if each.phones:
                phones.append(f"{_json(each.id)}: {_json(each.phones)}")
    yield UTTERANCES, "".join(f"{line}\n" for line in lines)
    yield PHONES, "{\n" + ",\n".join(phones) + "\n}\n"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
