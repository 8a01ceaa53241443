"""The one order in which whole graphs are read: as a text would show them."""

from __future__ import annotations

from collections.abc import Iterator

from .core import Graph, Node


def traverse(root: Graph, *, by_name: bool = False) -> Iterator[Graph | Node | None]:
    """A graph where it begins, its nodes in order, each followed by its regions; None where one ends.

    A node's regions come in the order in which it holds them, or sorted by name.
    """
    yield root
    stack: list[tuple[Iterator[Node] | Iterator[Graph], bool]] = [(iter(root), True)]
    while stack:
        items, is_graph = stack[-1]
        for item in items:
            yield item
            if isinstance(item, Graph):
                stack.append((iter(item), True))
                break
            if item.regions:
                regions = item.regions
                graphs = [regions[name] for name in sorted(regions)] if by_name else regions.values()
                stack.append((iter(graphs), False))
                break
        else:
            stack.pop()
            if is_graph:
                yield None
