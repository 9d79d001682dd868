"""Changes inputs at random and keeps those that do what none did before.

What an input does is its outcome: a short text, such as an error's message without its numbers.
The corpus is a folder of files. `python tests/pipeline/serving/test_serving_fuzz.py SECONDS` makes
it grow.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

# Longer inputs are left out: large ones have tests of their own.
_LONGEST = 20_000


class Corpus:
    """Inputs of one target.

    Args:
        folder: of the files.
        words: byte strings that are put into inputs.
        judge: gives the outcome of an input; raises where the target is at fault.
    """

    def __init__(self, folder: Path, words: list[bytes], judge: Callable[[bytes], str]):
        self._folder = folder
        self._words = words
        self._judge = judge
        self.inputs = [path.read_bytes() for path in sorted(folder.iterdir())]

    def replay(self) -> set[str]:
        """The outcomes of all inputs."""
        return {self._outcome(each) for each in self.inputs}

    def fuzz(self, seconds: float, seed: int, keep: bool) -> tuple[int, int]:
        """Tries changed inputs for so long; returns how many, and how many did something new."""
        generator = random.Random(seed)
        known, tried, new = self.replay(), 0, 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            changed = self._change(generator)
            outcome = self._outcome(changed)
            tried += 1
            if outcome not in known:
                known.add(outcome)
                new += 1
                self.inputs.append(changed)
                if keep:
                    self._write(changed)
        return tried, new

    def _outcome(self, data: bytes) -> str:
        try:
            return re.sub(r"\d+", "0", self._judge(data))[:120]
        except BaseException as error:
            place = self._write(data)
            raise AssertionError(f"{place} breaks it") from error

    def _write(self, data: bytes) -> Path:
        path = self._folder / hashlib.sha256(data).hexdigest()[:16]
        path.write_bytes(data)
        return path

    def _change(self, generator: random.Random) -> bytes:
        data = bytearray(generator.choice(self.inputs))
        for _ in range(generator.choice((1, 1, 1, 2, 4, 16))):
            at = generator.randrange(len(data) + 1)
            kind = generator.randrange(7)
            if kind == 0 and data:
                data[min(at, len(data) - 1)] ^= 1 << generator.randrange(8)
            elif kind == 1:
                data[at:at] = generator.choice(self._words)
            elif kind == 2:
                del data[at : at + generator.choice((1, 2, 8, 200))]
            elif kind == 3:
                other = generator.choice(self.inputs)
                start = generator.randrange(len(other) + 1)
                data[at:] = other[start:]
            elif kind == 4 and data:
                start = generator.randrange(len(data))
                data[at:at] = data[start : start + generator.choice((1, 4, 40, 400))]
            elif kind == 5:
                word = generator.choice(self._words)
                data[at : at + len(word)] = word
            else:
                data[at : at + 4] = generator.choice(
                    (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1")
                )
        return bytes(data[:_LONGEST])
