"""Folders whose names hold TFX's placeholders: `day-{SPAN}`, `{YYYY}-{MM}-{DD}/v{VERSION}`.

What TFX reads with a glob and a regular expression of the whole path is matched here folder by
folder, so that every other character of a path stands for itself.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable
from typing import NamedTuple

from components.errors import PipelineError

_PLACEHOLDER = re.compile(r"\{(SPAN|VERSION)(?::([1-9]\d*))?\}|\{(YYYY|MM|DD)\}")
_DATE = {"YYYY": 4, "MM": 2, "DD": 2}  # digits


class Folder(NamedTuple):
    """A folder that a pattern stands for, relative to where the pattern begins.

    `span` counts days since 1970 for a date and is 0 without a placeholder.
    """

    path: str
    span: int = 0
    version: int | None = None

    @property
    def age(self) -> tuple[int, int]:
        """Newer folders have greater ones."""
        return self.span, -1 if self.version is None else self.version


def split_at_placeholder(path: str) -> tuple[str, str]:
    """`a/b/day-{SPAN}/c` -> (`a/b`, `day-{SPAN}/c`); the second is empty without placeholders.

    Raises:
        PipelineError: the placeholders do not go together.
    """
    found = _PLACEHOLDER.search(path)
    if not found:
        return path, ""
    base = os.path.dirname(path[: found.start()])
    names = sorted(found[1] or found[3] for found in _PLACEHOLDER.finditer(path))
    if [name for name in names if name != "VERSION"] not in (["SPAN"], sorted(_DATE)) or (
        names.count("VERSION") > 1
    ):
        raise PipelineError(
            f"data {path}: a pattern has either {{SPAN}} or each of {{YYYY}}, {{MM}} and {{DD}}, "
            "once, and may have {VERSION} beside it"
        )
    return base or ".", path[len(base) :].strip("/")


def newest(
    base: str, pattern: str, wanted: Callable[[str], bool], span: int | None = None
) -> Folder | None:
    """The newest folder that a pattern stands for and that is wanted; None without one.

    Args:
        base: a folder; taken literally.
        pattern: a path below it, with or without placeholders; empty for `base` itself.
        wanted: told the path of a folder, newer ones first; one without data is no span yet.
        span: the only one that counts, if given.

    Raises:
        PipelineError: a date is none, or two folders are the newest.
    """
    found: list[tuple[str, dict[str, str]]] = [("", {})]
    for component in filter(None, pattern.split("/")):
        found = [
            (os.path.join(folder, name), {**values, **more})
            for folder, values in found
            for name, more in _matches(os.path.join(base, folder), component)
        ]
    known = [Folder(path, *_span_and_version(path, values)) for path, values in found]
    known.sort(key=lambda folder: folder.age, reverse=True)
    chosen = None
    for folder in known:
        if span not in (None, folder.span) or (chosen and chosen.age != folder.age):
            continue
        if wanted(os.path.join(base, folder.path)):
            if chosen:
                raise PipelineError(
                    f"data {os.path.join(base, pattern)}: {chosen.path} and {folder.path} are the "
                    "same span; keep one of them"
                )
            chosen = folder
    return chosen


def _matches(folder: str, component: str) -> list[tuple[str, dict[str, str]]]:
    """Sub folders, with what their names have in place of the placeholders."""
    if not _PLACEHOLDER.search(component):
        return [(component, {})] if os.path.isdir(os.path.join(folder, component)) else []
    literal, rule = 0, ""
    for found in _PLACEHOLDER.finditer(component):
        name, width = found[1] or found[3], found[2] or _DATE.get(found[3])
        digits = f"{{{width}}}" if width else "+"
        rule += re.escape(component[literal : found.start()]) + f"(?P<{name}>[0-9]{digits})"
        literal = found.end()
    rule += re.escape(component[literal:])
    with os.scandir(folder) as entries:
        named = ((entry.name, re.fullmatch(rule, entry.name)) for entry in entries)
        fitting = [(name, match.groupdict()) for name, match in named if match]
    return [(name, values) for name, values in fitting if os.path.isdir(os.path.join(folder, name))]


def _span_and_version(path: str, values: dict[str, str]) -> tuple[int, int | None]:
    version = int(values["VERSION"]) if "VERSION" in values else None
    if "YYYY" not in values:
        return int(values.get("SPAN", 0)), version
    try:
        date = datetime.date(*(int(values[name]) for name in _DATE))
    except ValueError as error:
        raise PipelineError(f"data: the folder {path} names no date ({error}); rename it") from None
    return (date - datetime.date(1970, 1, 1)).days, version
