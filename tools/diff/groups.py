"""Nodes that hang together: what is one change."""

from __future__ import annotations

from collections.abc import Iterable

from ...ir.core import Node, Value


def is_shared(value: Value) -> bool:
    """True for what many read from, a mask or a size: it does not make one change of its users."""
    users = len(value.users)
    return users > 3 or (users > 1 and value.dtype is not None and value.dtype.is_int and (value.rank or 0) <= 1)


class Groups:
    """Sets of nodes that hang together (union and find)."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._above = {node: node for node in nodes}

    def of(self, node: Node) -> Node:
        above = self._above
        while above[node] is not node:
            above[node] = above[above[node]]
            node = above[node]
        return node

    def listed(self, nodes: list[Node]) -> list[Node]:
        """For each node itself, or the one around it that is in a set: what is inside of that belongs to it."""
        found = []
        for node in nodes:
            current: Node | None = node
            while current is not None and current not in self._above:
                current = None if current.graph is None else current.graph.parent
            found += [] if current is None else [current]
        return found

    def join(self, a: Node, b: Node | None) -> None:
        """Bring two sets together; what is in none stays out."""
        if b is not None and a in self._above and b in self._above:
            self._above[self.of(b)] = self.of(a)
