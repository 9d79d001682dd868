"""Drawings of the report: the pipeline, curves, bars, and how numbers are written."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import config as configuration
from pipeline.dag import Run, create_pipeline
from pipeline.edges import edges
from pipeline.report import graph
from pipeline.report.charts import Series, bars, line_plot
from pipeline.report.curves import Curve
from pipeline.report.numbers import duration, number, percent


@pytest.mark.parametrize(
    "override",
    ["runtime.cache=true", "data.schema_path=/s.pbtxt", "training.warm_start=last_release"],
)
def test_the_drawing_is_that_of_the_pipeline(digits_data: Path, override: str) -> None:
    where = Run(str(digits_data), "/p", "/c", "/s", "", 0, "id")
    pipeline = create_pipeline(configuration.load("digits", (override,)), where)
    connections = edges(pipeline.components)
    drawing = graph.draw([], connections)
    assert {node.name for node in drawing.nodes} == {each.id for each in pipeline.components}
    assert len({(node.x, node.y) for node in drawing.nodes}) == len(drawing.nodes)
    drawn = graph.drawn(connections)
    assert _implied({each[:2] for each in drawn}) == _implied({each[:2] for each in connections})
    assert [each[:2] for each in drawn if not each.data] == [("DataGate", "Transform")]
    warm = ("Baseline", "Trainer-vqvae", True) in drawn
    assert warm == (override == "training.warm_start=last_release")


def _implied(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """All pairs of which the second comes after the first."""
    while True:
        longer = edges | {(a, d) for a, b in edges for c, d in edges if b == c}
        if longer == edges:
            return edges
        edges = longer


@pytest.mark.parametrize("upright", [False, True])
def test_components_do_not_overlap_and_stay_inside(upright: bool) -> None:
    names = ["ImportSchemaGen", "Something", "SomethingElse"]
    drawing = graph.draw([(name, "ran", 1.0) for name in names], [], upright)
    boxes = [(node.x, node.y) for node in drawing.nodes]

    assert max(x for x, _ in boxes) + drawing.node_width <= drawing.width
    assert max(y for _, y in boxes) + drawing.node_height <= drawing.height
    for index, (x, y) in enumerate(boxes):
        for other_x, other_y in boxes[:index]:
            apart = abs(x - other_x) >= drawing.node_width, abs(y - other_y) >= drawing.node_height
            assert any(apart)


@pytest.mark.parametrize(
    "values", [[1.0], [2.0, 2.0], [0.0, 0.0], [1e-9, 1e9], [math.nan, 3.0], [-5.0, 5.0]]
)
@pytest.mark.parametrize("logarithmic", [False, True])
def test_curves_of_any_values_can_be_drawn(values: list[float], logarithmic: bool) -> None:
    curve = Curve(np.arange(1, len(values) + 1), np.array(values))
    plot = line_plot("title", "note", [Series("line", "held", curve)], logarithmic)

    if plot is None:
        assert not any(value > 0 for value in values)
        return
    assert "nan" not in plot.lines[0].path
    assert len(plot.y_ticks) >= 1
    ticks = [tick.at for tick in plot.y_ticks]
    assert all(plot.top <= at <= plot.bottom for at in ticks)
    assert ticks == sorted(ticks, reverse=True)


def test_names_of_lines_that_lie_close_do_not_overlap() -> None:
    curve = Curve(np.array([1, 2]), np.array([6.0, 3.0]))
    levels = {"uniform": 6.0, "unigram": 5.95}
    plot = line_plot("bits", "", [Series("prior", "held", curve)], levels=levels)

    above, below = (level.text_at for level in plot.levels)
    assert below - above >= 13


@pytest.mark.parametrize("count", [1, 2, 16, 17, 64, 300, 1599, 1600, 8192])
def test_any_number_of_bars_has_a_readable_axis(count: int) -> None:
    names = [str(place + 1) for place in range(count)]
    chart = bars({"share": [1.0] * count}, names)

    assert 1 <= len(chart.x_ticks) <= 16
    assert all(chart.left < tick.at < chart.right for tick in chart.x_ticks)


def test_numbers_have_four_digits() -> None:
    assert [number(value) for value in (0.0312345, 1234567, 12345.678, 5.0, -0.5, None)] == [
        "0.03123",
        "1,234,567",
        "12,346",
        "5",
        "−0.5",
        "–",
    ]
    assert number(0.031, exact=True) == "0.03100"
    assert [percent(value) for value in (0.984375, 1.0, math.nan)] == ["98.4 %", "100 %", "–"]
    assert [duration(s) for s in (0.04, 9.96, 65, 3660)] == [
        "0.0 s",
        "10 s",
        "1 min 05 s",
        "1 h 01 min",
    ]
