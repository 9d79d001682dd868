"""Cron expressions as Kubeflow Pipelines reads them: six fields, the first of them seconds.

The backend reads them with robfig/cron 1.2, which differs from other crons where the day of the
month and the day of the week are both restricted: a day must satisfy either, but both as soon as
one of the two fields holds a `*` or `?`, be it with a step.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import zoneinfo

from pipeline.config.config import ConfigError

_FIELDS = ("second", "minute", "hour", "day of the month", "month", "day of the week")
_LIMITS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_NAMES: tuple[tuple[str, ...], ...] = (
    (), (), (), (),
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
)  # fmt: skip
_DAY, _WEEKDAY = 3, 5
_PART = re.compile(r"(\*|\?|(\w+)(?:-(\w+))?)(?:/(\d+))?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class _Field:
    """The values that a field admits, and whether it has a `*` or `?`."""

    values: frozenset[int]
    star: bool


def check(expression: str) -> str:
    """The expression with single spaces, if the backend reads it as it looks.

    Raises:
        ConfigError: five fields, which the backend takes and misreads; or a field out of range.
    """
    _parse(expression)
    return " ".join(expression.split())


def next_times(
    expression: str, time_zone: str, count: int = 5, now: datetime.datetime | None = None
) -> list[datetime.datetime]:
    """When a schedule fires next.

    Args:
        expression: six fields.
        time_zone: of the cluster's schedule controller, such as `UTC` or `Europe/Berlin`.
        count: how many times.
        now: to begin with; by default the present.

    Raises:
        ConfigError: no such time zone, or a date that never comes, such as 30 February.
    """
    from croniter import CroniterBadDateError, croniter

    fields = _parse(expression)
    try:
        zone = zoneinfo.ZoneInfo(time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"--time-zone {time_zone}: unknown; use a name such as UTC or Europe/Berlin"
        ) from error
    start = (now or datetime.datetime.now(datetime.UTC)).astimezone(zone)
    day, weekday = fields[_DAY], fields[_WEEKDAY]
    either = not day.star and not weekday.star
    texts = [_text(field, index) for index, field in enumerate(fields)]
    if either and "*" in (texts[_DAY], texts[_WEEKDAY]):
        # Every day satisfies one of them (1-31, say): croniter would look at the other only.
        texts[_DAY] = texts[_WEEKDAY] = "*"
    ticks = croniter(
        " ".join(texts), start, datetime.datetime, day_or=either, second_at_beginning=True
    )
    try:
        return [ticks.get_next() for _ in range(count)]
    except CroniterBadDateError as error:
        raise ConfigError(f"--cron {expression!r}: such a date never comes") from error


def _parse(expression: str) -> list[_Field]:
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
    parsed = []
    for index, field in enumerate(fields):
        values: set[int] = set()
        for part in field.split(","):
            try:
                values |= _values(part, index)
            except ValueError as error:
                raise ConfigError(
                    f"--cron {expression!r}: {_FIELDS[index]} {part!r}: {error}"
                ) from None
        parsed.append(_Field(frozenset(values), any(sign in field for sign in "*?")))
    return parsed


def _values(part: str, index: int) -> set[int]:
    """What one part of a field admits; ValueError says what is wrong with it."""
    found = _PART.fullmatch(part)
    if not found:
        raise ValueError("must be *, a value, a range or one of these with /step")
    _, first_text, last_text, step_text = found.groups()
    low, high = _LIMITS[index]
    first, last = low, high
    if first_text:
        first = _value(first_text, index)
        if last_text:
            last = _value(last_text, index)
        elif not step_text:  # with a step, a single value goes on to the end
            last = first
    if first > last:
        raise ValueError("the range ends before it begins")
    step = int(step_text) if step_text else 1
    if not 0 < step <= high:
        raise ValueError(f"the step must be 1 to {high}")
    return set(range(first, last + 1, step))


def _value(text: str, index: int) -> int:
    low, high = _LIMITS[index]
    names = _NAMES[index]
    if text.lower() in names:
        return names.index(text.lower()) + low
    if text.isdigit() and low <= int(text) <= high:
        return int(text)
    hint = f" or {names[0]}-{names[-1]}" if names else ""
    raise ValueError(f"must be {low} to {high}{hint}")


def _text(field: _Field, index: int) -> str:
    low, high = _LIMITS[index]
    if len(field.values) == high - low + 1:
        return "*"
    return ",".join(map(str, sorted(field.values)))
