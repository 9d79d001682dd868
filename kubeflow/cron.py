"""Cron expressions as Kubeflow Pipelines reads them: six fields, the first of them seconds."""

from __future__ import annotations

import datetime
import re
import zoneinfo

from pipeline.config import ConfigError

_FIELDS = ("second", "minute", "hour", "day of the month", "month", "day of the week")
_LIMITS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_NAMES: tuple[tuple[str, ...], ...] = (
    (), (), (), (),
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
)  # fmt: skip
_PART = re.compile(r"(\*|\?|(\w+)(?:-(\w+))?)(?:/(\d+))?")


def check(expression: str) -> str:
    """The expression with single spaces, if the backend reads it as it looks.

    Raises:
        ConfigError: five fields, which the backend takes and misreads; or a field out of range.
    """
    fields = expression.split()
    if len(fields) == 5:
        raise ConfigError(
            f"--cron {expression!r}: Kubeflow's cron has six fields, seconds first, and would read "
            f"these five as other ones; write '0 {' '.join(fields)}'"
        )
    if len(fields) != 6:
        raise ConfigError(
            f"--cron {expression!r}: must have six fields: {', '.join(_FIELDS)}; "
            "for example '0 0 3 * * *', every day at 3"
        )
    for index, field in enumerate(fields):
        for part in field.split(","):
            if reason := _problem(part, index):
                raise ConfigError(f"--cron {expression!r}: {_FIELDS[index]} {part!r}: {reason}")
    return " ".join(fields)


def next_times(
    expression: str, time_zone: str, count: int = 5, now: datetime.datetime | None = None
) -> list[datetime.datetime]:
    """When a schedule fires next.

    Args:
        expression: as `check` returns it.
        time_zone: of the cluster's schedule controller, such as `UTC` or `Europe/Berlin`.
        count: how many times.
        now: to begin with; by default the present.

    Raises:
        ConfigError: no such time zone, or a date that never comes, such as 30 February.
    """
    from croniter import CroniterBadDateError, croniter

    try:
        zone = zoneinfo.ZoneInfo(time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(
            f"--time-zone {time_zone}: unknown; use a name such as UTC or Europe/Berlin"
        ) from error
    start = (now or datetime.datetime.now(datetime.UTC)).astimezone(zone)
    # With `?` a day is left open, as with `*`.
    ticks = croniter(
        expression.replace("?", "*"), start, datetime.datetime, second_at_beginning=True
    )
    try:
        return [ticks.get_next() for _ in range(count)]
    except CroniterBadDateError as error:
        raise ConfigError(f"--cron {expression!r}: such a date never comes") from error


def _problem(part: str, index: int) -> str:
    """What is wrong with one part of a field, as robfig/cron reads it; empty for nothing."""
    found = _PART.fullmatch(part)
    if not found:
        return "must be *, a value, a range or one of these with /step"
    low, high = _LIMITS[index]
    values = [_value(text, index) for text in found.groups()[1:3] if text]
    for value in values:
        if value is None or not low <= value <= high:
            names = (
                f" or {'-'.join(_NAMES[index][:: len(_NAMES[index]) - 1])}" if _NAMES[index] else ""
            )
            return f"must be {low} to {high}{names}"
    if len(values) == 2 and values[0] > values[1]:
        return "the range ends before it begins"
    if found.group(4) is not None and not 0 < int(found.group(4)) <= high:
        return f"the step must be 1 to {high}"
    return ""


def _value(text: str, index: int) -> int | None:
    if text.isdigit():
        return int(text)
    names = _NAMES[index]
    return names.index(text.lower()) + _LIMITS[index][0] if text.lower() in names else None
