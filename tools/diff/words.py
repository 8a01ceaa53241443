"""Places, graphs and values in words."""

from __future__ import annotations

from ...ir.core import Graph, Node, Value
from ...passes.instruments import where


def place_of(nodes: list[Node]) -> str:
    """The scope that all have in common where there is one, else the place of the first."""
    names = [node.loc[0] for node in nodes if node.loc]
    if len(names) < 2:
        return where(nodes[0])
    low, high = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(low, high)) if a != b), min(len(low), len(high)))
    cut = same if same == len(low) == len(high) else max(low.rfind("/", 0, same), low.rfind(".", 0, same))
    return low[:cut] if cut > 0 else names[0]


def graph_text(graph: Graph) -> str:
    parent = graph.parent
    if parent is None:
        return "the main graph"
    name = next((name for name, region in parent.regions.items() if region is graph), "a region")
    return f"{name} of {where(parent)}"


def named(value: Value | None) -> str:
    return "none" if value is None else f"%{value.hint}"


def short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
