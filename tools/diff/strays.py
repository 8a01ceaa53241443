"""Nodes that stand in another graph than their counterparts: hoisted out of a branch, or left when one was taken."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING

from ...ir.core import Graph, Node, Value

if TYPE_CHECKING:
    from .matching import Matching


def match_strays(found: Matching, a: Graph, b: Graph, forward: Mapping[Node, int]) -> list[tuple[Node, Node]]:
    """Match what is left anywhere below two roots; the new pairs.

    Nodes correspond that are computed from the same (`forward` hashes) or have the same large weights, found once in
    each, and what is alike around them. A branch captures what it reads, so its nodes have the same hashes when they
    stand outside of it.
    """
    strays = _Strays(found)
    keys: tuple[Callable[[Node], Hashable], ...] = (forward.__getitem__, found.labels.by_weights)
    for key in keys:
        buckets: dict[Hashable, tuple[list[Node], list[Node]]] = {}
        for side, root in enumerate((a, b)):
            known = found.origins if side else found.nodes
            for node in root.walk():
                if node not in known:
                    buckets.setdefault(key(node), ([], []))[side].append(node)
        for ours, theirs in buckets.values():
            if len(ours) == len(theirs) == 1:
                strays.add(ours[0], theirs[0])
        strays.grow()
    return strays.pairs


class _Strays:
    def __init__(self, found: Matching) -> None:
        self.found = found
        self.label = found.labels.with_constants
        self.pairs: list[tuple[Node, Node]] = []

    def add(self, a: Node, b: Node) -> None:
        """Two nodes correspond, if they are alike and have no other counterparts."""
        known = a in self.found.nodes or b in self.found.origins
        if not known and self.label(a) == self.label(b):
            self.found.add(a, b)
            self.pairs.append((a, b))

    def grow(self) -> None:
        """Match what is alike in front of the pairs and behind them."""
        for a, b in self.pairs:  # grows while it is read
            for u, v in zip(a.inputs, b.inputs):
                if u is not None and v is not None and u.producer is not None and v.producer is not None:
                    self.add(u.producer, v.producer)
            for u, v in zip(a.outputs, b.outputs):
                ours, theirs = self._users(u, self.found.nodes), self._users(v, self.found.origins)
                for key, nodes in ours.items():
                    if len(nodes) == len(theirs.get(key, ())) == 1:
                        self.add(nodes[0], theirs[key][0])

    def _users(self, value: Value, known: Mapping[Node, Node]) -> dict[tuple[int, int], list[Node]]:
        users: dict[tuple[int, int], list[Node]] = defaultdict(list)
        for node, place in value.uses:
            if node not in known and node.graph is not None and node is not node.graph.ret:
                users[self.label(node), place].append(node)
        return users
