"""Where the components and their connections are drawn; the template draws them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipeline import component_ids as ids
from pipeline.edges import Edge as Connection

Point = tuple[float, float]
Place = tuple[int, int]  # along a lane, lane

# Component -> position along its lane, lane. Lane 0 checks the data, lane 1 makes the models.
PLACES = {
    ids.EXAMPLE_GEN: (0, 0),
    ids.STATISTICS_GEN: (1, 0),
    ids.SCHEMA_GEN: (2, 0),
    ids.IMPORT_SCHEMA_GEN: (2, 0),
    ids.EXAMPLE_VALIDATOR: (3, 0),
    ids.DATA_GATE: (4, 0),
    ids.BASELINE: (5, 0),
    ids.TRANSFORM: (0, 1),
    ids.TRAINERS["vqvae"]: (1, 1),
    ids.TOKENIZER: (2, 1),
    ids.TRAINERS["prior"]: (3, 1),
    ids.EVALUATOR: (4, 1),
    ids.PUSHER: (5, 1),
    ids.REPORT: (6, 1),
}
# The way of the data, and what a model is compared with; drawn although other paths imply them.
_SHOWN = {(ids.EXAMPLE_GEN, ids.TRANSFORM), (ids.BASELINE, ids.EVALUATOR)}

NOT_REACHED = "not reached"
_CORNER = 9.0
_ASIDE = 34.0  # of a connection that arrives beside another


@dataclasses.dataclass(frozen=True)
class Node:
    """A component's box: left, top; state; share of the run's time, 0 to 1.

    Attributes:
        seconds: None where the time is not known.
    """

    name: str
    x: float
    y: float
    state: str
    seconds: float | None
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


def places(names: Sequence[str]) -> dict[str, Place]:
    """Component -> its place; those that are not known come below."""
    extra = [name for name in names if name not in PLACES]
    below = {name: (index % 6, 2 + index // 6) for index, name in enumerate(extra)}
    return {name: {**PLACES, **below}[name] for name in names}


def drawn(edges: Sequence[Connection]) -> list[Connection]:
    """The connections that no other path implies, and a few that are always shown."""
    followers: dict[str, set[str]] = {}
    for edge in edges:
        followers.setdefault(edge.before, set()).add(edge.after)

    def reaches(start: str, end: str) -> bool:
        return any(each == end or reaches(each, end) for each in followers.get(start, ()))

    return [
        edge
        for edge in edges
        if (edge.before, edge.after) in _SHOWN
        or not any(
            each != edge.after and reaches(each, edge.after) for each in followers[edge.before]
        )
    ]


def draw(
    components: Sequence[tuple[str, str, float | None]],
    edges: Sequence[Connection],
    upright: bool = False,
) -> Graph:
    """Lays the pipeline out.

    Args:
        components: name, state and seconds of those that the run reached.
        edges: of the pipeline, those that it did not reach included.
        upright: lanes run from top to bottom, for narrow screens, not from left to right.
    """
    reached = {name: (state, seconds) for name, state, seconds in components}
    names = dict.fromkeys([*reached, *(name for edge in edges for name in edge[:2])])
    at = places(list(names))
    node_width, node_height = (165.0, 56.0) if upright else (164.0, 62.0)
    gap, gutter = (26.0, 36.0) if upright else (29.0, 62.0)
    layout = _Layout(node_width, node_height, gap, gutter, upright)
    total = sum(seconds or 0.0 for _, seconds in reached.values()) or 1.0
    nodes = []
    for name, (along, lane) in at.items():
        state, seconds = reached.get(name, (NOT_REACHED, None))
        nodes.append(
            Node(name, *layout.corner(along, lane), state, seconds, (seconds or 0.0) / total)
        )
    across = 1 + max((lane for _, lane in at.values()), default=0)
    count = 1 + max((along for along, _ in at.values()), default=0)
    right, bottom = layout.corner(count - 1, across - 1)
    shown = drawn(edges)
    ends = [(at[edge.before], at[edge.after]) for edge in shown]
    arcs = 20.0 if ids.IMPORT_SCHEMA_GEN in at else 0.0
    return Graph(
        width=right + node_width + layout.margin,
        height=bottom + node_height + layout.margin + arcs,
        node_width=node_width,
        node_height=node_height,
        nodes=nodes,
        edges=[
            Edge(_rounded(points), not edge.data)
            for edge, points in zip(shown, layout.routes(ends), strict=True)
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

    def routes(self, ends: Sequence[tuple[Place, Place]]) -> list[list[Point]]:
        """Corners of connections; those that would lie on one another in the gutter do not."""
        tracks: list[list[tuple[int, int]]] = []
        track_of = {}
        for start, end in ends:
            if start[1] == end[1] or start[0] == end[0]:
                continue
            span = min(start[0], end[0]), max(start[0], end[0])
            free = (
                index
                for index, track in enumerate(tracks)
                if all(span[1] <= low or high <= span[0] for low, high in track)
            )
            number = next(free, len(tracks))
            if number == len(tracks):
                tracks.append([])
            tracks[number].append(span)
            track_of[start, end] = number
        return [
            self._route(start, end, (1 + track_of.get((start, end), 0)) / (1 + len(tracks)))
            for start, end in ends
        ]

    def _route(self, start: Place, end: Place, depth: float) -> list[Point]:
        """Corners of a connection, that runs at a depth in the gutter, 0 to 1, if it does."""
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
            level = y0 + breadth + self.gutter * depth
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
