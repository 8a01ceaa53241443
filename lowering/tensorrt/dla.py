"""What of a model runs on the DLA of a Jetson, by the rows of dla.rules.

TensorRT decides when it builds, and then says nothing of what it left on the GPU. So this says it before, by the limits
that are documented; what depends on the sizes of buffers is not among them.
"""

from __future__ import annotations

from collections.abc import Collection

from ...ir.core import Graph, Model, Node
from ...ir.rewrite import RuleSet
from ..backend import Placement
from ..partition import groups_of, read_by
from ..rows import refused_by_rules

CORE = 0  # an engine runs on one core; that it was built for this one does not keep it from the other
LOADABLES = 16  # parts that a core holds at once (TensorRT's documentation, "DLA Supported Layers and Restrictions")


def place(model: Model, rows: RuleSet, elsewhere: Collection[Node] = ()) -> Placement:
    """What the DLA takes of the main graph; nodes `elsewhere` are another runtime's."""
    outside = [each for each in refused_by_rules(model, rows) if each.node not in elsewhere]
    gone = {each.node for each in outside} | set(elsewhere)
    inside = sum(node not in gone for node in model.graph)
    total = inside + len(outside)
    return Placement(f"DLA core {CORE}", inside, total, _parts(model.graph, gone), LOADABLES, tuple(outside))


def _parts(graph: Graph, gone: Collection[Node]) -> int:
    """In how many pieces the nodes that are left hang together, when none may need what comes after another one."""
    count = 0
    for (_, inside), nodes in groups_of(graph, gone).items():
        if inside:
            count += _pieces(nodes)
    return count


def _pieces(nodes: list[Node]) -> int:
    leader = {node: node for node in nodes}

    def find(node: Node) -> Node:
        while leader[node] is not node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    for node in nodes:
        for value in read_by(node):
            if value.producer in leader:
                leader[find(node)] = find(value.producer)
    return sum(leader[node] is node for node in nodes)
