"""Surgery on nodes with regions."""

from __future__ import annotations

from collections.abc import Collection

from ...ir.core import Graph, Node
from ...ir.types import merge


def inline(node: Node, region: str) -> None:
    """Replace a node by the contents of one of its regions; the inputs of the region have no uses any more.

    What the region returns takes the place of the node's outputs, one for one. Moved nodes without a source
    location get the node's.
    """
    graph, inner = node.graph, node.regions[region]
    assert graph is not None
    for moved in list(inner):
        moved.loc = moved.loc or node.loc
        graph.move(moved, node)
    for output, result in zip(node.outputs, inner.outputs):
        if result.producer is not None:
            result.type = merge(result.type, output.type)
        output.replace_with(result)
    graph.erase(node)


def remove_results(graph: Graph, slots: Collection[int]) -> None:
    """Make a region return less: remove outputs by index."""
    kept = [index for index in range(len(graph.outputs)) if index not in slots]
    graph.set_outputs([graph.outputs[i] for i in kept], [graph.output_names[i] for i in kept])


def remove_outputs(node: Node, slots: Collection[int]) -> None:
    """Remove unused outputs of a node by index."""
    node.outputs = tuple(v for index, v in enumerate(node.outputs) if index not in slots)
    for index, value in enumerate(node.outputs):
        value.index = index
