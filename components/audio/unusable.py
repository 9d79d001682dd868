"""Why audio cannot be used."""

from __future__ import annotations


class UnusableAudio(Exception):
    """Audio that is refused.

    Attributes:
        reason: one of few, so that they can be counted.
        detail: what there is in this file instead; may be empty.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
