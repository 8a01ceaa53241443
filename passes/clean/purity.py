"""Which nodes may be removed, merged or run at another time."""

from __future__ import annotations

from ...ir.core import Graph, Model, Node


def impure_nodes(model: Model) -> set[Node]:
    """Nodes that do more than compute their outputs: they stay even when nobody uses those.

    Operators without a schema are taken to be impure, a node with regions is impure if anything inside is.
    """
    found: set[Node] = set()
    graphs: set[Graph] = set()
    for graph in reversed(model.graphs()):  # inner ones first
        for node in graph:
            if node.regions and not node.op.is_opaque:
                impure = any(region in graphs for region in node.regions.values())
            else:
                impure = not node.op.pure
            if impure:
                found.add(node)
                graphs.add(graph)
    return found


def is_deterministic(node: Node) -> bool:
    """True if equal operands and attributes always give equal results; False for nodes with regions.

    Dropout and its like are deterministic unless their training operand may be true.
    """
    if node.op.deterministic:
        return True
    index = node.op.training_input
    if index is None or not node.op.pure or node.op.random:
        return False
    training = node.input(index)
    return training is None or (training.const is not None and not training.const.array().any())
