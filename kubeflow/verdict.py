"""The last line of the Pusher's log: what came of a run."""

from __future__ import annotations

import dataclasses
import json

PREFIX = "VQVAE-VERDICT "


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The version that was released, or None and the reason."""

    released: int | None
    reason: str = ""


def format_verdict(released: int | None, reason: str = "") -> str:
    """The line."""
    return PREFIX + json.dumps(dataclasses.asdict(Verdict(released, reason)))


def parse_verdict(line: str) -> Verdict | None:
    """What such a line says; None for any other."""
    if not line.startswith(PREFIX):
        return None
    return Verdict(**json.loads(line.removeprefix(PREFIX)))
