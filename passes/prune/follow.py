"""Which axes of which values must be cut together: followed from what makes an axis to what reads it.

    found = follow(graph)
    found.axes[value]                 # for each axis of a value its labels, None where it cannot be cut
    found.cuts                        # axes of constants that shrink with labels
    found.labels.families()

One walk in the order of the graph. A layer makes fresh labels for its outputs; operators pass labels on, join those of
their operands, or fix them, by the rules in `layers` and `shapes`. An operator that has no rule fixes what it reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ...ir.core import Graph, Node, Value
from ...ir.tensor import Array
from .labels import Labels

Axes = list[Array | None]
Kept = Callable[[Array], Array]
"""From labels to the positions among them that are kept, i64."""

STREAM, NORMED, HEAD = "stream", "normed", "head"  # marks of labels


class Cut(NamedTuple):
    """Axis `axis` of a constant operand shrinks with `labels`."""

    node: Node
    operand: int
    axis: int
    labels: Array


class Read(NamedTuple):
    """A layer sums over an axis of what it reads; `labels` [channels] in the order of that axis."""

    node: Node
    labels: Array


@dataclass(eq=False)
class Following:
    """What is known of the axes of a graph. `work`: the axes that the arithmetic of a node is proportional to."""

    graph: Graph
    labels: Labels = field(default_factory=Labels)
    axes: dict[Value, Axes] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    made: dict[Node, Array] = field(default_factory=dict)  # of the outputs of layers
    work: dict[Node, list[Array]] = field(default_factory=dict)
    sizes: list[tuple[Node, int, int, Array]] = field(default_factory=list)  # elements of shape operands
    changes: list[tuple[Array, Callable[[Kept], None]]] = field(default_factory=list)  # what follows from cut labels

    def of(self, value: Value | None, axis: int) -> Array | None:
        """The labels of an axis."""
        axes = None if value is None else self.axes.get(value)
        return None if axes is None else axes[axis]

    def of_all(self, value: Value | None) -> Axes:
        """The labels of all axes; none for a value of unknown rank."""
        if value is None:
            return []
        return self.axes.get(value) or [None] * (value.rank or 0)

    def set(self, value: Value, axes: Axes) -> None:
        """Say what the labels of a value are."""
        if any(labels is not None for labels in axes):
            self.axes[value] = axes

    def fix(self, labels: Array | None, node: Node, text: str) -> None:
        """Nothing of these can be cut."""
        if labels is not None:
            self.labels.fix(labels, node, text)

    def fix_all(self, node: Node, text: str) -> None:
        """Nothing that a node reads can be cut."""
        for value in node.inputs:
            for labels in self.of_all(value):
                self.fix(labels, node, text)

    def cut(self, node: Node, operand: int, axis: int, labels: Array) -> None:
        """A constant operand shrinks with labels."""
        self.cuts.append(Cut(node, operand, axis, labels))

    def vector(self, node: Node, operand: int, labels: Array | None) -> None:
        """An operand has a number for each of `labels` along its last axis, or one for all."""
        value = node.input(operand)
        if value is None or labels is None or not value.rank or value.shape is None or value.shape[-1] == 1:
            return
        if value.const is not None:
            self.cut(node, operand, value.rank - 1, labels)
        else:
            self.join(node, labels, self.of(value, -1))

    def join(self, node: Node, a: Array | None, b: Array | None) -> Array | None:
        """Labels of two axes that must be cut in the same places; returns them."""
        if a is None or b is None:
            self.fix(b if a is None else a, node, "it meets a value that cannot be cut")
            return None
        self.labels.unite(a, b)
        return a

    def does(self, node: Node, *proportional: Array | None) -> None:
        """The arithmetic of a node is proportional to what is left of these."""
        self.work[node] = [labels for labels in proportional if labels is not None]


Rule = Callable[[Following, Node], None]


def follow(graph: Graph) -> Following:
    """Follow the axes of a main graph; those of values that regions read or the model returns are fixed."""
    from .layers import RULES as layers
    from .shapes import RULES as shapes

    found = Following(graph)
    for node in graph:
        rule = layers.get(node.op.key) or shapes.get(node.op.key)
        if rule is None or node.regions or any(v is not None and v.rank is None for v in node.inputs):
            found.fix_all(node, f"{node.op.key} is not followed")
        else:
            rule(found, node)
    for value, axes in found.axes.items():
        for user in value.users:
            if user.graph is not graph or user is graph.ret:
                text = "it is an output of the model" if user is graph.ret else "a region reads it"
                for labels in axes:
                    found.fix(labels, value.producer or user, text)
    return found


def fraction(labels: Array, alive: Array) -> float:
    """What is left of an axis; `alive` bool [labels]."""
    return float(np.count_nonzero(alive[labels]) / max(1, len(labels)))
