"""Results of several seeds in a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(runs: Sequence[dict[str, float]], metric: str, form: str, scale: float = 1.0) -> str:
    """The mean of a metric over the runs, and its range."""
    values = [scale * run[metric] for run in runs]
    return f"{statistics.mean(values):{form}} ({min(values):{form}}–{max(values):{form}})"
