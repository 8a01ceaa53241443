"""Families of units: what can be cut of the axes that belong together, how it is called, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...ir.core import Node
from ...ir.ops.cost import CostModel
from ...ir.tensor import Array
from .follow import HEAD, NORMED, STREAM, Following, fraction
from .labels import Reason

CHANNELS, HEADS, NEURONS, STREAMS = "channels", "heads", "neurons", "streams"


@dataclass(eq=False)
class Family:
    """Units that can go one by one, and `fixed` others of the same axes.

    `units` i64 are the roots of their labels. `width`: how many indices of an axis a unit has.
    """

    kind: str
    units: Array
    fixed: int
    makers: list[Node]
    reason: Reason | None
    width: int = 1
    touched: list[Node] = field(default_factory=list)  # whose arithmetic depends on it

    @property
    def node(self) -> Node:
        """The first node that makes it."""
        return self.makers[0]

    @property
    def total(self) -> int:
        """All units, fixed ones as well."""
        return len(self.units) + self.fixed

    def kept_counts(self, multiple: int) -> list[int]:
        """How many units may be left: all, or what makes axes of a multiple where they are long enough for that."""
        step = max(1, multiple // self.width)
        while step > 1 and self.total < 2 * step:
            step //= 2
        return [n - self.fixed for n in range(step, self.total, step) if n > self.fixed] + [len(self.units)]

    def nearest(self, share: float, multiple: int) -> int:
        """The count that is nearest to a share of all."""
        wanted = share * self.total - self.fixed
        return min(self.kept_counts(multiple), key=lambda count: (abs(count - wanted), count))


def families_of(found: Following) -> list[Family]:
    """In the order of the graph; those of which nothing can go have no units, and a reason."""
    labels = found.labels
    fixed, marks = labels.fixed(), {mark: labels.marked(mark) for mark in (STREAM, NORMED, HEAD)}
    widths = _widths(found)
    result = []
    of: dict[int, Family] = {}
    for roots, makers in labels.families():
        all_of = set(roots.tolist())
        if all_of & (marks[STREAM] | marks[NORMED]):
            kind = STREAMS
        elif all_of & marks[HEAD]:
            kind = HEADS
        else:
            kind = CHANNELS if any(maker.op.key in ("Conv", "ConvTranspose") for maker in makers) else NEURONS
        free = np.array([root for root in roots.tolist() if root not in fixed], np.int64)
        reason = next((fixed[root] for root in roots.tolist() if root in fixed), None)
        width = max((widths.get(root, 1) for root in roots.tolist()), default=1)
        family = Family(kind, free, len(roots) - len(free), makers, reason, width)
        result.append(family)
        of.update(dict.fromkeys(all_of, family))
    for node, proportional in found.work.items():
        seen = {id(of[root]): of[root] for part in proportional for root in np.unique(labels.find(part)).tolist()}
        for family in seen.values():
            family.touched.append(node)
    return result


def _widths(found: Following) -> dict[int, int]:
    """How many indices of one axis the units have."""
    widths: dict[int, int] = {}
    for made in found.made.values():
        for root, count in zip(*np.unique(found.labels.find(made), return_counts=True)):
            widths[int(root)] = max(widths.get(int(root), 1), int(count))
    return widths


class Work:
    """The arithmetic of a graph, for any choice of what is left."""

    def __init__(self, found: Following, cost: CostModel) -> None:
        self.of = {node: cost.flops(node) or 0.0 for node in found.work}
        self.found = found

    def total(self, alive: Array) -> float:
        """Operations of the layers, for `alive` bool [labels]."""
        result = 0.0
        for node, proportional in self.found.work.items():
            left = self.of[node]
            for labels in proportional:
                left *= fraction(labels, alive)
            result += left
        return result
