"""The order in which layers are repaired: each after all that it depends on."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.core import Node


def depths(layers: Sequence[Node]) -> list[list[Node]]:
    """The layers in groups: each depends on earlier groups alone."""
    if not layers:
        return []
    graph = layers[0].graph
    assert graph is not None
    chosen = set(layers)
    depth: dict[Node, int] = {}
    groups: dict[int, list[Node]] = {}
    for node in graph:
        below = [depth.get(v.producer, 0) for v in node.inputs if v is not None and v.producer is not None]
        here = max(below, default=0)
        if node in chosen:
            groups.setdefault(here, []).append(node)
            here += 1
        depth[node] = here
    return [groups[number] for number in sorted(groups)]
