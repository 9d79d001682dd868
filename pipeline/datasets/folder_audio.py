"""Audio files of a folder, as a data set has them: a folder a speaker.

WAV, FLAC, Ogg and MP3 files are written as they are, at their own rate, after they have been
decoded to their end. Raw G.722, which nobody can tell without its name, becomes WAV.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from components.audio.container import begins_as_audio, is_raw
from components.audio.inspected import inspected
from components.audio.limits import AudioLimits
from components.audio.normalised import normalised
from components.audio.unusable import UnusableAudio
from pipeline.datasets.facts import AudioSummary
from pipeline.datasets.file_kind import FileKind, Measures, Seen
from pipeline.datasets.utterance import Utterance

_ALLOWED = AudioLimits()
_HEAD_BYTES = 16


def _look(path: Path) -> Seen:
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
            if head and not begins_as_audio(head, path.name):  # whatever lies here may be huge
                return Seen(None, reason="not audio that is read")
            data = head + file.read()
        found = inspected(data, _ALLOWED, path.name)
    except UnusableAudio as error:
        return Seen(None, reason=str(error), damaged=True)
    return Seen((found.rate, found.seconds), hashlib.sha256(data).digest())


def _record(data: bytes, label: int | None, measures: Measures, name: bytes) -> Utterance:
    rate, seconds = measures
    file = name.decode("utf-8", "backslashreplace")
    audio = normalised(data, AudioLimits(rate=int(rate)), file) if is_raw(file) else data
    return Utterance(audio, label, file.encode(), int(rate), seconds, name)


AUDIO_FILES = FileKind(
    name="audio-folder",
    thing="audio file",
    look=_look,
    record=_record,
    summary=AudioSummary,
)
