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
    b"RIFX": "big-endian WAV",  # which FFmpeg decodes as if it were little-endian
    b"wvPK": "WavPack",
}
# Sizes that programs announce when they write to a pipe and cannot know.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF, 0x7FFFF000)
_MOST_CHUNKS = 1_000  # of a WAV file, before its samples
_OGG_HEADER_BYTES = 27
_ID3_BYTES = 10  # of a tag, before what it holds
_ID3V1_BYTES = 128  # of the oldest kind of tag, at the end
_HEAD_BYTES = 16  # that tell the kind


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
    data = data if is_raw(name) else _without_id3(data)
    kind = _kind(data[:_HEAD_BYTES], name)
    if kind == "wav":
        _check_wav(data)
    elif kind == "ogg":
        _check_ogg(data)
    elif kind == "mp3" and data[-_ID3V1_BYTES:].startswith(b"TAG"):
        data = data[:-_ID3V1_BYTES]  # which FFmpeg takes for a damaged frame
    elif kind == "":
        raise UnusableAudio(_other_format(data[:_HEAD_BYTES]))
    counted = kind == "mp3" and any(tag in data[:4096] for tag in (b"Xing", b"Info"))
    return Container(kind, data, has_length=counted or kind in ("wav", "flac", "ogg"))


def begins_as_audio(head: bytes, name: str) -> bool:
    """Whether a file of this name whose first 16 bytes are these is of a kind that is read."""
    return head.startswith(b"ID3") or _kind(head, name) != ""


def is_raw(name: str) -> bool:
    """Whether a file of this name has no header."""
    return name.lower().endswith(_G722_SUFFIX)


def _kind(head: bytes, name: str) -> str:
    """A key of NAMES; empty for other kinds."""
    if is_raw(name):
        return "g722"
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head.startswith(b"fLaC"):
        return "flac"
    if head.startswith(b"OggS"):
        return "ogg"
    return "mp3" if _is_mp3_header(head) else ""


def _other_format(head: bytes) -> str:
    found = [name for magic, name in _OTHER_FORMATS.items() if head.startswith(magic)]
    if head[4:8] == b"ftyp":
        found = ["MP4 or M4A"]
    if not found:
        return "not WAV, FLAC, Ogg or MP3 audio"
    return f"{found[0]} file, not WAV, FLAC, Ogg or MP3 audio"


def _without_id3(data: bytes) -> bytes:
    """The file behind its tags: pictures, texts and compressed frames that nobody here wants."""
    at = 0
    while data.startswith(b"ID3", at) and at + _ID3_BYTES <= len(data):
        size = 0
        for byte in data[at + 6 : at + _ID3_BYTES]:  # seven bits each
            size = size << 7 | byte & 0x7F
        footer = _ID3_BYTES if data[at + 5] & 0x10 else 0
        at += _ID3_BYTES + size + footer
        if at >= len(data):
            raise UnusableAudio("truncated or corrupt MP3", "ends within its tags")
    return data[at:]


def _is_mp3_header(head: bytes) -> bool:
    """Whether four bytes begin a frame of MPEG audio, of any of its three layers."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer != 0 and bits != 15 and rate != 3


def _check_wav(data: bytes) -> None:
    """FFmpeg takes a file that ends too early for a shorter one."""
    at, described = 12, False
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            raise UnusableAudio("truncated WAV", "ends before its samples")
        chunk, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if chunk == b"fmt " and at + 16 <= len(data):
            _, channels, rate = struct.unpack_from("<HHI", data, at)
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
