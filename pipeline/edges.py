"""What follows what in the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tfx.dsl.components.base.base_component import BaseComponent


class Edge(NamedTuple):
    """Component `after` runs when `before` has; `data`: it reads artifacts of it."""

    before: str
    after: str
    data: bool


def edges(components: Sequence[BaseComponent]) -> list[Edge]:
    """The connections of components, whether a pipeline has been made of them or not yet."""
    found = []
    for component in components:
        producers = {str(each.producer_component_id) for each in component.inputs.values()}
        waits = {node.id for node in component.upstream_nodes}
        found += [Edge(each, component.id, each in producers) for each in sorted(waits | producers)]
    return found
