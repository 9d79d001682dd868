"""How numbers are written in the report."""

from __future__ import annotations

import math


def number(value: float | None, exact: bool = False) -> str:
    """Four significant digits, thousands separated; a dash for what has no value.

    Args:
        value: to be written.
        exact: zeros at the end stay, so that columns align: `0.0310`, not `0.031`.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, int) or abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:#.4g}" if exact else f"{value:.4g}"
    return text.rstrip(".").replace("-", "−", 1) if text.startswith("-") else text.rstrip(".")


def tick(value: float) -> str:
    """A round number on an axis, in little room: `0.05`, `2e−5`, `50k`."""
    if abs(value) >= 1e4:
        return compact(value)
    if 0 < abs(value) < 1e-4:
        digits, exponent = f"{value:e}".split("e")
        return f"{float(digits):.4g}e{int(exponent)}".replace("-", "−")
    return number(value)


def percent(share: float | None) -> str:
    """A share of 1 as a percentage."""
    if share is None or not math.isfinite(share):
        return "–"
    return f"{100 * share:.3g} %"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s` or `2 h 10 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def compact(value: float) -> str:
    """A count in little room: `500`, `1,500`, `20k`, `1.2M`."""
    for limit, unit in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e6 if unit == 'M' else 1e3):.4g}{unit}"
    return f"{value:,.0f}"
