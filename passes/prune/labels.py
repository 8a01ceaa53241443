"""Labels of what is cut together: each index along an axis that may be cut has one, and equal sets mean one fate.

    labels = Labels()
    made = labels.fresh(64, node)              # the output channels of a convolution
    labels.unite(made, other)                  # a residual Add: channel i of both, or of none
    labels.fix(made, node, "it is an output of the model")

Sets of labels grow as a union-find forest over arrays: a whole axis is joined in a few steps of numpy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...ir.core import Node
from ...ir.tensor import Array


class Forest:
    """Disjoint sets of integers; the root of each is its smallest member."""

    def __init__(self) -> None:
        self._parents: Array = np.zeros(0, np.int64)

    def grow(self, count: int) -> Array:
        """New members, each alone: i64 [count]."""
        start = len(self._parents)
        new = np.arange(start, start + count)
        self._parents = np.concatenate([self._parents, new])
        return new

    def find(self, members: Array) -> Array:
        """The root of each."""
        found = self._parents[members]
        while True:
            above = self._parents[found]
            if np.array_equal(above, found):
                break
            found = above
        self._parents[members] = found
        return found

    def unite(self, a: Array, b: Array) -> None:
        """Join the sets of a[i] and b[i], for each i."""
        while True:
            one, other = self.find(a), self.find(b)
            apart = one != other
            if not apart.any():
                return
            # A root that meets several gets the smallest of them, the others are met in the next round.
            low, high = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
            np.minimum.at(self._parents, high, low)

    @property
    def roots(self) -> Array:
        """The root of every member."""
        return self.find(np.arange(len(self._parents)))


class Reason(NamedTuple):
    """Why labels cannot be cut: a node, and what about it."""

    node: Node
    text: str


class Labels(Forest):
    """Sets of indices that are cut together, the nodes that made them, and what was said about them."""

    def __init__(self) -> None:
        super().__init__()
        self.makers: list[Node] = []  # of each range of labels
        self._ranges: list[Array] = []
        self._fixed: list[tuple[Array, Reason]] = []
        self._marks: dict[str, list[Array]] = {}

    def fresh(self, count: int, maker: Node) -> Array:
        """A range of new labels."""
        new = self.grow(count)
        self._ranges.append(np.full(count, len(self.makers)))
        self.makers.append(maker)
        return new

    def unite_rows(self, rows: Array) -> None:
        """Join the labels [sets, members] of each row."""
        self.unite(np.broadcast_to(rows[:, :1], rows.shape).reshape(-1), rows.reshape(-1))

    def fix(self, labels: Array, node: Node, text: str) -> None:
        """Nothing of these can be cut."""
        self._fixed.append((labels, Reason(node, text)))

    def mark(self, labels: Array, kind: str) -> None:
        """Note that these are of a kind."""
        self._marks.setdefault(kind, []).append(labels)

    def fixed(self) -> dict[int, Reason]:
        """The roots that cannot be cut, with the first reason for each."""
        found: dict[int, Reason] = {}
        for labels, reason in self._fixed:
            for root in np.unique(self.find(labels)).tolist():
                found.setdefault(root, reason)
        return found

    def marked(self, kind: str) -> set[int]:
        """The roots of all that was marked so."""
        found: set[int] = set()
        for labels in self._marks.get(kind, ()):
            found.update(np.unique(self.find(labels)).tolist())
        return found

    def families(self) -> list[tuple[Array, list[Node]]]:
        """Roots that are cut out of the same axes, and the nodes that made those; in the order of the graph."""
        if not self.makers:
            return []
        ranges, roots = np.concatenate(self._ranges), self.roots
        families = Forest()
        families.grow(len(self.makers))
        families.unite(ranges, ranges[roots])
        of = families.roots
        parts: dict[int, list[Node]] = {}
        for number, maker in enumerate(self.makers):
            parts.setdefault(int(of[number]), []).append(maker)
        return [(np.unique(roots[of[ranges] == family]), makers) for family, makers in parts.items()]
