"""A voice of Festvox, as speech synthesis is built from: recordings, transcripts, phones.

`wav/NAME.wav`, `etc/txt.done.data` with lines `( NAME "what is said" )`, and `lab/NAME.lab`: a
header that ends in `#`, then lines `END 125 PHONE`, where END is in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.config.config import ConfigError

RECORDINGS = "wav"
_LINE = re.compile(r'\( *(\S+) +"(.*)" *\)')


class Phone(NamedTuple):
    """A sound of speech, and when it is heard."""

    start: float  # seconds
    end: float
    name: str


class Utterance(NamedTuple):
    """A recording, and what is said in it."""

    name: str
    recording: Path
    text: str  # with a + in front of stressed vowels that need it
    phones: tuple[Phone, ...]


def utterances(voice: Path) -> Iterator[Utterance]:
    """Those of a voice that have a recording, sorted by name.

    Raises:
        ConfigError: naming a file that is missing or damaged.
    """
    texts = _texts(voice / "etc" / "txt.done.data")
    for recording in sorted((voice / RECORDINGS).glob("*.wav")):
        name = recording.stem
        if name not in texts:
            raise ConfigError(f"{voice}/etc/txt.done.data: has no transcript of {name}")
        yield Utterance(name, recording, texts[name], _phones(voice / "lab" / f"{name}.lab"))


def _texts(file: Path) -> dict[str, str]:
    found = {}
    for number, line in enumerate(_lines(file), start=1):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ConfigError(f'{file}: line {number} is not `( NAME "TEXT" )`')
        found[match[1]] = match[2]
    return found


def _phones(file: Path) -> tuple[Phone, ...]:
    lines = _lines(file)
    found: list[Phone] = []
    start = 0.0
    for number, line in enumerate(lines[lines.index("#") + 1 :] if "#" in lines else [], start=1):
        try:
            end, _, name = line.split()
            phone = Phone(start, float(end), name)
        except ValueError:
            raise ConfigError(f"{file}: phone {number} is not `END CODE PHONE`") from None
        if not phone.end > phone.start:
            raise ConfigError(f"{file}: phone {number} does not end after it begins")
        found.append(phone)
        start = phone.end
    if not found:
        raise ConfigError(f"{file}: has no phones")
    return tuple(found)


def _lines(file: Path) -> list[str]:
    try:
        lines = map(str.strip, file.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{file}: cannot be read: {reason}") from error
