"""What is told of a record that cannot be used."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Rejection:
    """Which record it is, and why it cannot be used."""

    file: str
    record: int  # from 0, within the file
    reason: str  # one of few, so that they can be counted
    detail: str = ""  # what this record holds instead
    source: str = ""  # file that the image was read from, where the record says so

    def to_json(self) -> str:
        """One line; what is not known is left out."""
        known = {name: value for name, value in asdict(self).items() if value != ""}
        text = json.dumps(known, ensure_ascii=False)
        # Of a file name that is no text; JSON has the same escape.
        return text.encode("utf-8", "backslashreplace").decode()

    @property
    def why(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason

    @property
    def place(self) -> str:
        return f"record {self.record} of {self.file}{self.origin}"

    @property
    def origin(self) -> str:
        """`, from FILE` where that is known."""
        return f", from {self.source}" if self.source else ""

    def __str__(self) -> str:
        return f"{self.place} ({self.why})"
