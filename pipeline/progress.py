"""How work that takes its time tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

# Called as work goes on with what is being done, how many images or files are through, and of how
# many (None while that is unknown).
Progress = Callable[[str, int, int | None], None]
