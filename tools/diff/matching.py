"""Which nodes of two models correspond.

Anchors come first: inputs and outputs by name, then nodes whose hashes from both sides, or from one side, are found
once in each model. From there matches grow along edges: the makers of corresponding operands, the users of
corresponding values. What is left is matched by ever smaller neighbourhoods, by source names, and at last by the
operator alone where neighbours correspond. Nested graphs are matched where the nodes around them are. Each step is
linear in the number of edges.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.core import Graph, Model, Node, Value
from ...ir.types import TensorType, Type
from .graphs import Graphs
from .hashes import Labels, backward, forward
from .strays import match_strays


class Matching:
    """Corresponding nodes and values of two models, `before` and `after`.

    `nodes` leads from nodes of the first model to those of the second, `origins` back; `graphs` are pairs of graphs
    that were compared, outer ones before those inside. A node may correspond to one of another graph than its own does.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.nodes: dict[Node, Node] = {}
        self.origins: dict[Node, Node] = {}
        self.values: dict[Value, Value] = {}  # inputs of graphs, and results of nodes
        self.sources: dict[Value, Value] = {}
        self.graphs: list[tuple[Graph, Graph]] = []
        self.outputs: dict[tuple[Graph, Graph], list[tuple[int, int]]] = {}

    def value_of(self, value: Value) -> Value | None:
        """The value of the second model that corresponds to one of the first; None where none does. No constants."""
        return self.values.get(value)

    def same_value(self, a: Value | None, b: Value | None) -> bool:
        """True if two operands correspond: constants when they hold the same."""
        if a is None or b is None:
            return a is b
        if a.const is not None or b.const is not None:
            return a.const is not None and b.const is not None and self.labels.same_tensor(a.const, b.const)
        return self.values.get(a) is b

    def add(self, a: Node, b: Node) -> None:
        """Two nodes correspond, and so do their results."""
        self.nodes[a], self.origins[b] = b, a
        for x, y in zip(a.outputs, b.outputs):
            self.add_value(x, y)

    def remove(self, a: Node, b: Node) -> None:
        """Two nodes do not correspond after all."""
        del self.nodes[a], self.origins[b]
        for x, y in zip(a.outputs, b.outputs):
            del self.values[x], self.sources[y]

    def add_value(self, a: Value, b: Value) -> None:
        """Two values correspond."""
        self.values[a], self.sources[b] = b, a


def match_models(before: Model, after: Model, labels: Labels | None = None) -> Matching:
    """The matching of two models: main graphs with each other, functions by name."""
    found = Matching(labels or Labels())
    _Roots(found, before.graph, after.graph).match()
    for key, function in before.functions.items():
        if key in after.functions:
            _Roots(found, function.graph, after.functions[key].graph).match()
    return found


def paired(
    names: Sequence[str], types: Sequence[Type | None], others: Sequence[str], their: Sequence[Type | None]
) -> list[tuple[int, int]]:
    """Pairs of numbers of inputs, or outputs: those of one name, then the others in order where their types fit."""
    place = {name: index for index, name in enumerate(others)}
    pairs = [(index, place[name]) for index, name in enumerate(names) if name in place]
    taken = {other for _, other in pairs}
    rest = [index for index, name in enumerate(names) if name not in place]
    free = [index for index in range(len(others)) if index not in taken]
    for index in rest:
        partner = next((other for other in free if _alike(types[index], their[other])), None)
        if partner is not None:
            free.remove(partner)
            pairs.append((index, partner))
    return sorted(pairs)


def _alike(a: Type | None, b: Type | None) -> bool:
    if isinstance(a, TensorType) and isinstance(b, TensorType):
        ranks = [None if t.shape is None else len(t.shape) for t in (a, b)]
        return a.dtype is b.dtype and (None in ranks or ranks[0] == ranks[1])
    return type(a) is type(b)


class _Roots:
    """Matches two root graphs with all that is in them."""

    def __init__(self, found: Matching, a: Graph, b: Graph) -> None:
        self.found = found
        self.a, self.b = a, b
        self.labels = found.labels

    def match(self) -> None:
        a, b, found = self.a, self.b, self.found
        inputs = paired(a.input_names, [v.type for v in a.inputs], b.input_names, [v.type for v in b.inputs])
        outputs = paired(a.output_names, [v.type for v in a.outputs], b.output_names, [v.type for v in b.outputs])
        for i, j in inputs:
            found.add_value(a.inputs[i], b.inputs[j])
        self.forward = {
            **forward(a, self.labels, {a.inputs[i]: hash((7, i)) for i, _ in inputs}),
            **forward(b, self.labels, {b.inputs[j]: hash((7, i)) for i, j in inputs}),
        }
        self.backward = {
            **backward(a, self.labels, {i: hash((8, i)) for i, _ in outputs}),
            **backward(b, self.labels, {j: hash((8, i)) for i, j in outputs}),
        }
        found.outputs[a, b] = outputs
        self._pairs([(a, b)])
        strays = match_strays(found, a, b, self.forward)
        self._pairs([pair for x, y in strays for pair in _regions(x, y)])

    def _pairs(self, waiting: list[tuple[Graph, Graph]]) -> None:
        for pair in waiting:  # grows while it is read: nested graphs correspond where the nodes around them do
            self.found.graphs.append(pair)
            self._pair(*pair, waiting)

    def _pair(self, a: Graph, b: Graph, waiting: list[tuple[Graph, Graph]]) -> None:
        if (a, b) != (self.a, self.b):
            for x, y in zip(a.inputs, b.inputs):
                self.found.add_value(x, y)
            count = min(len(a.outputs), len(b.outputs))
            self.found.outputs[a, b] = [(index, index) for index in range(count)]
        Graphs(self.found, a, b, self.forward, self.backward).match()
        for node in a:
            other = self.found.nodes.get(node)
            if other is not None and other.graph is b:
                waiting += _regions(node, other)


def _regions(a: Node, b: Node) -> list[tuple[Graph, Graph]]:
    return [(region, b.regions[name]) for name, region in a.regions.items() if name in b.regions]
