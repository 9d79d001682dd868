"""Which kind of audio file bytes are, by what they hold, and whether its end is there.

FFmpeg knows hundreds of kinds. Some of them, such as playlists, open further files or addresses
that the bytes name. It is never left to choose: it is told one of the few kinds below, none of
which opens anything.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from components.audio import limits
from components.audio.unusable import UnusableAudio

# Raw G.722 has no header: any bytes are some, so it is the file's name that tells.
_G722_SUFFIX = ".g722"

# Names of FFmpeg's demuxers -> as people call them.
NAMES = {"wav": "WAV", "flac": "FLAC", "ogg": "Ogg", "mp3": "MP3", "g722": "G.722"}

# First bytes of formats that people do put into sets of recordings, for a reason that names them.
_OTHER_FORMATS = {
    b"FORM": "AIFF",
    b".snd": "Sun audio",
    b"caff": "Core Audio",
    b"#!AMR": "AMR",
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"0&\xb2u\x8ef\xcf\x11": "WMA or WMV",
    b"MThd": "MIDI",
    b"RIFF": "AVI or other RIFF",
    b"wvPK": "WavPack",
}
# Sizes that programs announce when they write to a pipe and cannot know.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF, 0x7FFFF000)
_MOST_CHUNKS = 1_000  # of a WAV file, before its samples
_OGG_HEADER_BYTES = 27


class Container(NamedTuple):
    """A file of a kind that is read."""

    kind: str  # FFmpeg's name for it, a key of NAMES
    data: bytes
    # Whether FFmpeg reads the length out of the file rather than estimating it.
    has_length: bool

    @property
    def name(self) -> str:
        return NAMES[self.kind]


def container_of(data: bytes, name: str = "") -> Container:
    """Finds the kind of a file.

    Args:
        data: the file.
        name: of the file; needed for raw G.722 only.

    Raises:
        UnusableAudio: for other kinds, and for files that end too early or whose header has
            numbers that no recording has.
    """
    if not data:
        raise UnusableAudio("empty audio")
    if name.lower().endswith(_G722_SUFFIX):
        return Container("g722", data, False)
    data = _without_id3(data)
    if data[:4] in (b"RIFF", b"RIFX", b"RF64") and data[8:12] == b"WAVE":
        _check_wav(data)
        return Container("wav", data, True)
    if data.startswith(b"fLaC"):
        return Container("flac", data, True)
    if data.startswith(b"OggS"):
        _check_ogg(data)
        return Container("ogg", data, True)
    if _is_mp3_header(data[:4]):
        return Container("mp3", data, any(tag in data[:4096] for tag in (b"Xing", b"Info")))
    if data[4:8] == b"ftyp":
        raise UnusableAudio(_other("MP4 or M4A"))
    for magic, other in _OTHER_FORMATS.items():
        if data.startswith(magic):
            raise UnusableAudio(_other(other))
    raise UnusableAudio("not WAV, FLAC, Ogg or MP3 audio")


def _other(kind: str) -> str:
    return f"{kind} file, not WAV, FLAC, Ogg or MP3 audio"


def _without_id3(data: bytes) -> bytes:
    """The file behind its tags: pictures, texts and compressed frames that nobody here wants."""
    while data.startswith(b"ID3") and len(data) >= 10:
        size = 0
        for byte in data[6:10]:  # seven bits each
            size = size << 7 | byte & 0x7F
        footer = 10 if data[5] & 0x10 else 0
        data = data[10 + size + footer :]
        if not data:
            raise UnusableAudio("truncated or corrupt MP3", "ends within its tags")
    return data


def _is_mp3_header(head: bytes) -> bool:
    """Whether four bytes begin a frame of MPEG audio, of any of its three layers."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer != 0 and bits != 15 and rate != 3


def _check_wav(data: bytes) -> None:
    """FFmpeg takes a file that ends too early for a shorter one."""
    order = ">" if data.startswith(b"RIFX") else "<"
    at, described = 12, False
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            raise UnusableAudio("truncated WAV", "ends before its samples")
        chunk, size = struct.unpack_from(f"{order}4sI", data, at)
        at += 8
        if chunk == b"fmt " and at + 16 <= len(data):
            _, channels, rate = struct.unpack_from(f"{order}HHI", data, at)
            limits.check_channels(channels)
            limits.check_rate(rate)
            described = True
        if chunk == b"data":
            if size not in _UNKNOWN_SIZES and size > len(data) - at:
                raise UnusableAudio(
                    "truncated WAV", f"has {len(data) - at:,} of {size:,} bytes of samples"
                )
            if not described:
                break
            return
        at += size + size % 2
    raise UnusableAudio("truncated or corrupt WAV")


def _check_ogg(data: bytes) -> None:
    """The last page must end where the file does."""
    last = data.rfind(b"OggS")
    if last + _OGG_HEADER_BYTES <= len(data):
        segments = data[last + _OGG_HEADER_BYTES - 1]
        table = data[last + _OGG_HEADER_BYTES : last + _OGG_HEADER_BYTES + segments]
        if last + _OGG_HEADER_BYTES + segments + sum(table) == len(data):
            return
    raise UnusableAudio("truncated or corrupt Ogg", "ends within a page")
