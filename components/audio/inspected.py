"""What audio is, found without making anything of it."""

from __future__ import annotations

from typing import NamedTuple

from components.audio.container import container_of
from components.audio.decoded import mono_blocks
from components.audio.limits import AudioLimits, check_heard


class Inspected(NamedTuple):
    """Audio that can be used."""

    rate: int  # Hz, as it is stored
    seconds: float


def inspected(data: bytes, allowed: AudioLimits, name: str = "") -> Inspected:
    """Decodes a file to its end, and refuses what `normalised` would refuse.

    Args and errors are those of `normalised`.
    """
    rate, samples, lowest, highest = 0, 0, 0.0, 0.0
    for block, stored in mono_blocks(container_of(data, name), allowed):
        if not len(block):
            continue
        rate = stored
        low, high = float(block.min()), float(block.max())
        lowest, highest = (min(lowest, low), max(highest, high)) if samples else (low, high)
        samples += len(block)
    check_heard(lowest * 2**15, highest * 2**15)
    return Inspected(rate, samples / rate)
