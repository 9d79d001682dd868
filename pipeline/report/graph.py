"""Where the components and their connections are drawn; the template draws them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

Point = tuple[float, float]

# Component -> position along its lane, lane. Lane 0 checks the data, lane 1 makes the models.
PLACES = {
    "ImageExampleGen": (0, 0),
    "StatisticsGen": (1, 0),
    "SchemaGen": (2, 0),
    "ExampleValidator": (3, 0),
    "DataGate": (4, 0),
    "Baseline": (5, 0),
    "Transform": (0, 1),
    "Trainer-vqvae": (1, 1),
    "Tokenizer": (2, 1),
    "Trainer-prior": (3, 1),
    "Evaluator": (4, 1),
    "Pusher": (5, 1),
}
# What is drawn of the connections: those that other paths imply are left out, but for the way
# of the data from ImageExampleGen to Transform.
EDGES = (
    ("ImageExampleGen", "StatisticsGen"),
    ("StatisticsGen", "SchemaGen"),
    ("SchemaGen", "ExampleValidator"),
    ("ExampleValidator", "DataGate"),
    ("DataGate", "Transform"),
    ("ImageExampleGen", "Transform"),
    ("Transform", "Trainer-vqvae"),
    ("Trainer-vqvae", "Tokenizer"),
    ("Tokenizer", "Trainer-prior"),
    ("Trainer-prior", "Evaluator"),
    ("Baseline", "Evaluator"),
    ("Evaluator", "Pusher"),
)
# A curated schema is imported and depends on nothing.
_IMPORTED = "ImportSchemaGen"
_IMPORTED_EDGES = (
    ("StatisticsGen", "ExampleValidator"),
    (_IMPORTED, "ExampleValidator"),
)
# Connections that carry no data, only leave to go on.
GATES = {("DataGate", "Transform")}

NOT_REACHED = "not reached"
_CORNER = 9.0
_ASIDE = 34.0  # of a connection that arrives beside another


@dataclasses.dataclass(frozen=True)
class Node:
    """A component's box: left, top; state; share of the run's time, 0 to 1."""

    name: str
    x: float
    y: float
    state: str
    seconds: float
    share: float


@dataclasses.dataclass(frozen=True)
class Edge:
    """An SVG path that ends in an arrow; `gate` where no data flows."""

    path: str
    gate: bool


@dataclasses.dataclass(frozen=True)
class Graph:
    """A drawing in SVG units; every node is `node_width` × `node_height`."""

    width: float
    height: float
    node_width: float
    node_height: float
    nodes: list[Node]
    edges: list[Edge]


def connections(names: Sequence[str]) -> tuple[dict[str, tuple[int, int]], list[tuple[str, str]]]:
    """Places and drawn connections of a pipeline in which components of these names ran."""
    places, edges = dict(PLACES), list(EDGES)
    if _IMPORTED in names:
        places = {_IMPORTED if name == "SchemaGen" else name: at for name, at in places.items()}
        edges = [edge for edge in edges if "SchemaGen" not in edge] + list(_IMPORTED_EDGES)
    extra = [name for name in names if name not in places]
    places |= {name: (index % 6, 2 + index // 6) for index, name in enumerate(extra)}
    return places, edges


def draw(components: Sequence[tuple[str, str, float]], upright: bool = False) -> Graph:
    """Lays the pipeline out.

    Args:
        components: name, state and seconds of those that the run reached.
        upright: lanes run from top to bottom, for narrow screens, not from left to right.
    """
    reached = {name: (state, seconds) for name, state, seconds in components}
    places, edges = connections(list(reached))
    node_width, node_height = (165.0, 56.0) if upright else (164.0, 62.0)
    gap, gutter = (26.0, 36.0) if upright else (29.0, 62.0)
    layout = _Layout(node_width, node_height, gap, gutter, upright)
    total = sum(seconds for _, seconds in reached.values()) or 1.0
    nodes = []
    for name, (along, lane) in places.items():
        state, seconds = reached.get(name, (NOT_REACHED, 0.0))
        nodes.append(Node(name, *layout.corner(along, lane), state, seconds, seconds / total))
    across = 1 + max(lane for _, lane in places.values())
    count = 1 + max(along for along, _ in places.values())
    right, bottom = layout.corner(count - 1, across - 1)
    arcs = 20.0 if _IMPORTED in places else 0.0
    return Graph(
        width=right + node_width + layout.margin,
        height=bottom + node_height + layout.margin + arcs,
        node_width=node_width,
        node_height=node_height,
        nodes=nodes,
        edges=[
            Edge(_rounded(layout.route(places[start], places[end])), (start, end) in GATES)
            for start, end in edges
        ],
    )


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Lanes run along x, or upright along y: both are computed as if along x, then turned."""

    node_width: float
    node_height: float
    gap: float
    gutter: float
    upright: bool
    margin: float = 4.0

    @property
    def _size(self) -> Point:
        """Of a node along and across its lane."""
        size = (self.node_width, self.node_height)
        return size[::-1] if self.upright else size

    def _turn(self, point: Point) -> Point:
        return point[::-1] if self.upright else point

    def _start(self, along: int, lane: int) -> Point:
        length, breadth = self._size
        return (
            self.margin + along * (length + self.gap),
            self.margin + lane * (breadth + self.gutter),
        )

    def corner(self, along: int, lane: int) -> Point:
        """Left and top of the node at a place."""
        return self._turn(self._start(along, lane))

    def route(self, start: tuple[int, int], end: tuple[int, int]) -> list[Point]:
        """Corners of a connection."""
        length, breadth = self._size
        (x0, y0), (x1, y1) = self._start(*start), self._start(*end)
        middle = y0 + breadth / 2
        if start[1] == end[1] and end[0] == start[0] + 1:
            points = [(x0 + length, middle), (x1, middle)]
        elif start[1] == end[1]:  # around what lies between, on the side of the gutter
            below = y0 + breadth + self.gutter * 0.3
            points = [
                (x0 + length - _ASIDE, y0 + breadth),
                (x0 + length - _ASIDE, below),
                (x1 + _ASIDE / 2, below),
                (x1 + _ASIDE / 2, y1 + breadth),
            ]
        elif start[0] == end[0]:
            points = [(x0 + length / 2, y0 + breadth), (x1 + length / 2, y1)]
        else:  # through the gutter, arriving beside the middle
            level = y0 + breadth + self.gutter / 2
            aside = _ASIDE if not self.upright else length / 4
            arrival = x1 + length / 2 + (aside if x0 > x1 else -aside)
            points = [
                (x0 + length / 2, y0 + breadth),
                (x0 + length / 2, level),
                (arrival, level),
                (arrival, y1),
            ]
        return [self._turn(point) for point in points]


def _rounded(points: list[Point]) -> str:
    """An SVG path through right-angled corners, rounded."""
    commands = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        near, far = _towards(corner, before), _towards(corner, after)
        commands.append(f"L{near[0]:.1f} {near[1]:.1f}")
        commands.append(f"Q{corner[0]:.1f} {corner[1]:.1f} {far[0]:.1f} {far[1]:.1f}")
    commands.append(f"L{points[-1][0]:.1f} {points[-1][1]:.1f}")
    return " ".join(commands)


def _towards(corner: Point, other: Point) -> Point:
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    distance = max(abs(dx), abs(dy)) or 1.0
    step = min(_CORNER, distance / 2) / distance
    return corner[0] + dx * step, corner[1] + dy * step
