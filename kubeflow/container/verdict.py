"""The last line of the Pusher's log: what came of a run."""

from __future__ import annotations

import dataclasses
import json

_PREFIX = "VQVAE-VERDICT "


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The version that was released, or None and the reason."""

    released: int | None
    reason: str = ""


def format_verdict(released: int | None, reason: str = "") -> str:
    """The line."""
    return _PREFIX + json.dumps(dataclasses.asdict(Verdict(released, reason)))


def find_verdict(log: str) -> Verdict | None:
    """What the last such line of a log says; None where there is none, or it is cut off."""
    for line in reversed(log.splitlines()):
        if line.startswith(_PREFIX):
            try:
                return Verdict(**json.loads(line.removeprefix(_PREFIX)))
            except (ValueError, TypeError):
                return None
    return None
