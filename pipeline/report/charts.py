"""Geometry of the charts; the template draws them as SVG in the colours of the page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.report.curves import Curve
from pipeline.report.numbers import compact, number, tick

# A chart in SVG units, and the room for the numbers on its axes.
WIDTH, HEIGHT = 400.0, 220.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 50.0, 12.0, 10.0, 24.0
# Dots of evaluations; more would run into each other.
_MOST_DOTS = 40
# Height of a line of text.
_TEXT = 13.0
_FEW_BARS = 130
# Half a page, where bars are shown, and the room for percentages.
_BARS_WIDTH, _BARS_LEFT = 460.0, 34.0
_MOST_NAMES = 16


@dataclasses.dataclass(frozen=True)
class Tick:
    """A position on an axis and its number."""

    at: float
    text: str


@dataclasses.dataclass(frozen=True)
class Level:
    """A horizontal line to compare with, its name, and where that is written."""

    at: float
    text: str
    text_at: float


@dataclasses.dataclass(frozen=True)
class Series:
    """A curve and how it is called; `style` is `train`, `held` or `other`.

    Attributes:
        evaluated: each value was measured at its step, not averaged since the last one.
    """

    label: str
    style: str
    curve: Curve
    evaluated: bool = False


@dataclasses.dataclass(frozen=True)
class Line:
    """A drawn curve: SVG path, dots (x, y, text), and its last value for the legend."""

    label: str
    style: str
    path: str
    dots: list[tuple[float, float, str]]
    last: str


@dataclasses.dataclass(frozen=True)
class Plot:
    """A chart of curves."""

    title: str
    note: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    levels: list[Level] = dataclasses.field(default_factory=list)
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM


@dataclasses.dataclass(frozen=True)
class Bars:
    """Vertical bars as one SVG path per group (label, style, path)."""

    groups: list[tuple[str, str, str]]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    levels: list[Level]
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float


def line_plot(
    title: str,
    note: str,
    series: Sequence[Series],
    logarithmic: bool = False,
    levels: Mapping[str, float] | None = None,
    from_zero: bool = False,
) -> Plot | None:
    """Curves over steps; None without any finite value.

    Args:
        title: what is drawn.
        note: unit or meaning, in a few words.
        series: the curves.
        logarithmic: y axis; values that are not positive are left out.
        levels: label -> value of horizontal lines.
        from_zero: the y axis starts at 0.
    """
    levels = {name: value for name, value in (levels or {}).items() if math.isfinite(value)}
    usable = [(each, _usable(each.curve, logarithmic)) for each in series]
    usable = [(each, curve) for each, curve in usable if len(curve.steps)]
    if not usable:
        return None
    values = np.concatenate([curve.values for _, curve in usable])
    low = min(float(values.min()), *levels.values(), *([0.0] if from_zero else []), math.inf)
    high = max(float(values.max()), *levels.values(), -math.inf)
    last = max(int(curve.steps[-1]) for _, curve in usable)
    first = 0 if last else -1
    axis = _Axis(low, high, HEIGHT - _BOTTOM, _TOP, logarithmic)
    steps = _Axis(first, last, _LEFT, WIDTH - _RIGHT, snug=True)
    return Plot(
        title=title,
        note=note,
        lines=[_line(each, curve, steps, axis) for each, curve in usable],
        x_ticks=[Tick(steps.at(step), compact(step)) for step in steps.ticks(6)],
        y_ticks=[Tick(axis.at(value), tick(value)) for value in axis.ticks(6)],
        levels=_levels({f"{name} {number(value)}": value for name, value in levels.items()}, axis),
    )


def bars(
    groups: Mapping[str, Sequence[float]],
    names: Sequence[str],
    levels: Mapping[str, float] | None = None,
) -> Bars:
    """Bars from 0, side by side for several groups, which are as long as `names`.

    Args:
        groups: legend label -> values.
        names: what each bar is, for the axis; many are thinned out.
        levels: label -> value of horizontal lines.
    """
    left, right, top, bottom = _BARS_LEFT, _BARS_WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM
    levels = dict(levels or {})
    count = len(names)
    highest = max([*(max(values) for values in groups.values()), *levels.values()], default=1.0)
    axis = _Axis(0.0, highest or 1.0, bottom, top)
    slot = (right - left) / max(count, 1)
    gap = slot * 0.22 if count <= _FEW_BARS else 0.0
    breadth = (slot - gap) / len(groups)
    styles = ("held", "train", "other")
    paths = []
    for index, (label, values) in enumerate(groups.items()):
        start = left + gap / 2 + index * breadth
        path = "".join(
            f"M{start + place * slot:.2f} {bottom:.1f}"
            f"V{axis.at(value):.2f}h{breadth:.2f}V{bottom:.1f}z"
            for place, value in enumerate(values)
        )
        paths.append((label, styles[index % len(styles)], path))
    return Bars(
        groups=paths,
        x_ticks=[Tick(left + (place + 0.5) * slot, names[place]) for place in _named(names)],
        y_ticks=[Tick(axis.at(value), tick(value)) for value in axis.ticks(4)],
        levels=_levels(levels, axis),
        width=_BARS_WIDTH,
        height=HEIGHT,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
    )


def _levels(values: Mapping[str, float], axis: _Axis) -> list[Level]:
    """Lines from top to bottom; a name goes above its line, or below where that is taken."""
    levels: list[Level] = []
    for name, value in sorted(values.items(), key=lambda item: axis.at(item[1])):
        at = axis.at(value)
        taken = levels[-1].text_at if levels else -math.inf
        text_at = at - 5 if at - 5 - taken >= _TEXT else at + _TEXT
        levels.append(Level(at, name, text_at))
    return levels


def _named(names: Sequence[str]) -> list[int]:
    """Which bars are named: all of a few, of many those with round numbers."""
    if len(names) <= _MOST_NAMES:
        return list(range(len(names)))
    every = _round_step(len(names) / 10)
    return [place for place, name in enumerate(names) if name.isdigit() and not int(name) % every]


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10 … that is not below `least`, also of their tenths."""
    scale = 10.0 ** math.floor(math.log10(least))
    return next(scale * digit for digit in (1, 2, 5, 10) if scale * digit >= least)


def _line(series: Series, curve: Curve, steps: _Axis, axis: _Axis) -> Line:
    xs = [steps.at(step) for step in curve.steps.tolist()]
    ys = [axis.at(value) for value in curve.values.tolist()]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys, strict=True))
    dots = []
    if series.evaluated and len(xs) <= _MOST_DOTS:
        texts = [
            f"step {step:,}: {number(value)}"
            for step, value in zip(curve.steps.tolist(), curve.values.tolist(), strict=True)
        ]
        dots = list(zip(xs, ys, texts, strict=True))
    return Line(series.label, series.style, path, dots, number(curve.last))


def _usable(curve: Curve, logarithmic: bool) -> Curve:
    good = np.isfinite(curve.values)
    if logarithmic:
        good &= curve.values > 0
    return Curve(curve.steps[good], curve.values[good])


class _Axis:
    """Maps values to SVG units; wide enough that nothing touches the frame."""

    def __init__(
        self,
        low: float,
        high: float,
        start: float,
        end: float,
        logarithmic: bool = False,
        snug: bool = False,
    ):
        if logarithmic and high / low < 1.5:  # nothing to gain, and no round numbers within
            logarithmic = False
        if high == low:
            high, low = (high + abs(high or 1.0) * 0.5, low - abs(low or 1.0) * 0.5)
        if logarithmic:
            low, high = low / (high / low) ** 0.04, high * (high / low) ** 0.04
        elif not snug:
            room = (high - low) * 0.05
            low, high = (low if low == 0.0 else low - room), high + room
        self._low, self._high, self._start, self._end = low, high, start, end
        self._logarithmic = logarithmic

    def at(self, value: float) -> float:
        if self._logarithmic:
            share = math.log(value / self._low) / math.log(self._high / self._low)
        else:
            share = (value - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self, count: int) -> list[float]:
        """About `count` round values within the axis."""
        if self._logarithmic:
            first = math.floor(math.log10(self._low))
            powers = range(first, math.ceil(math.log10(self._high)) + 1)
            for digits in ((1, 2, 5), (1, 3), (1,)):
                values = [digit * 10.0**power for power in powers for digit in digits]
                inside = [value for value in values if self._low <= value <= self._high]
                if 2 <= len(inside) <= count + 1:
                    return inside
            return inside
        step = _round_step((self._high - self._low) / count)
        first = math.ceil(self._low / step - 1e-9)
        last = math.floor(self._high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]
