"""Cron expressions as the scheduler of Kubeflow Pipelines reads them: robfig/cron 1.2."""

from __future__ import annotations

_CRON_LIMITS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_CRON_NAMES = {
    4: ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    5: ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}


def read_cron(expression: str) -> list[tuple[set[int], bool]]:
    """The six fields as robfig/cron 1.2 reads them: the values, and whether a star is in them.

    Five fields are taken for those without the last.
    """
    fields = expression.split()
    if len(fields) not in (5, 6):
        raise ValueError(f"expected 5 to 6 fields, found {len(fields)}")
    parsed = []
    for index, field in enumerate([*fields, "*"][:6]):
        values: set[int] = set()
        star = False
        for part in filter(None, field.split(",")):
            span, *steps = part.split("/")
            first, *lasts = span.split("-")
            if len(steps) > 1 or len(lasts) > 1:
                raise ValueError(f"too many hyphens or slashes: {part}")
            low, high = _CRON_LIMITS[index]
            if first in ("*", "?"):
                start, end, star = low, high, True
            else:
                start = _cron_value(first, index)
                end = _cron_value(lasts[0], index) if lasts else high if steps else start
            step = int(steps[0]) if steps else 1
            if start < low or end > high or start > end or step < 1:
                raise ValueError(f"out of range: {part}")
            values |= set(range(start, end + 1, step))
        parsed.append((values, star))
    return parsed


def _cron_value(text: str, index: int) -> int:
    names = _CRON_NAMES.get(index, ())
    low = _CRON_LIMITS[index][0]
    return names.index(text.lower()) + low if text.lower() in names else int(text)
