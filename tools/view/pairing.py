"""Which statements of two graphs are the same one: by name between dumps of one run, by structure between two models.

By structure, two nodes are one where all that leads to them is the same from the inputs on, or all that follows from
them down to the outputs; then where they stand alike beside nodes that are already pairs. Weights count by their bytes
first and by their types after that, so that a model and its finer tuned copy come together as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator

from ...ir.core import Graph, Model, Node, Value
from ...ir.walk import traverse
from .weights import identity

Pairs = dict[Node, Node]  # of the second graph to the first
Weight = Callable[[Value], Hashable]  # what a constant counts as


def pairs_of_dumps(before: Model, after: Model) -> Pairs:
    """Nodes of two dumps of one run, the second's to the first's: an operator with its names is the same node."""
    pairing = _Pairing(before, after)
    pairing.match(lambda node: (node.op, node.loc, tuple(value.hint for value in node.outputs)))
    pairing.match(lambda node: (node.op, node.output.hint) if node.outputs else None)
    pairing.neighbours()
    return pairing.pairs


def pairs_of_models(first: Model, second: Model) -> Pairs:
    """Nodes of two models, the second's to the first's, by structure, and by source names where that says nothing."""
    pairing = _Pairing(first, second)
    kinds: tuple[Weight, ...] = (identity, lambda value: str(value.type))
    for weight in kinds:
        numbers = _Numbers()
        pairing.match_by(_causes(first, weight, numbers), _causes(second, weight, numbers))
        pairing.match_by(_effects(first, weight, numbers), _effects(second, weight, numbers))
        pairing.neighbours()
    pairing.match(lambda node: (node.op, node.loc) if node.loc else None)
    pairing.neighbours()
    return pairing.pairs


class _Pairing:
    def __init__(self, first: Model, second: Model) -> None:
        self.first = [node for node in traverse(first.graph) if isinstance(node, Node)]
        self.second = [node for node in traverse(second.graph) if isinstance(node, Node)]
        self.pairs: Pairs = {}
        self._taken: set[Node] = set()

    def pair(self, a: Node, b: Node) -> None:
        self.pairs[b] = a
        self._taken.add(a)

    def match(self, key: Callable[[Node], Hashable | None]) -> None:
        """Pair what has equal keys, in order, where both graphs have equally many of that key."""
        self.match_by({n: key(n) for n in self.first}, {n: key(n) for n in self.second})

    def match_by(self, left: dict[Node, Hashable | None], right: dict[Node, Hashable | None]) -> None:
        groups: dict[Hashable, tuple[list[Node], list[Node]]] = defaultdict(lambda: ([], []))
        for node in self.first:
            if node not in self._taken and left[node] is not None:
                groups[left[node]][0].append(node)
        for node in self.second:
            if node not in self.pairs and right[node] is not None:
                groups[right[node]][1].append(node)
        for ours, theirs in groups.values():
            if len(ours) == len(theirs):
                for a, b in zip(ours, theirs):
                    self.pair(a, b)

    def neighbours(self) -> None:
        """Pair nodes of one operator that stand at the same place beside a pair, and go on from there."""
        work = [(a, b) for b, a in self.pairs.items()]
        while work:
            a, b = work.pop()
            for x, y in _beside(a, b):
                if x.op is y.op and x not in self._taken and y not in self.pairs and _alike(x, y):
                    self.pair(x, y)
                    work.append((x, y))


def _beside(a: Node, b: Node) -> Iterator[tuple[Node, Node]]:
    """Pairs of nodes at the same operand, or that are the only readers of their operator at the same result."""
    for u, v in zip(a.inputs, b.inputs):
        if u is not None and v is not None and u.producer is not None and v.producer is not None:
            yield u.producer, v.producer
    for u, v in zip(a.outputs, b.outputs):
        left, right = _by_slot(u), _by_slot(v)
        for slot, nodes in left.items():
            others = right.get(slot, [])
            if len(nodes) == len(others) == 1:
                yield nodes[0], others[0]


def _by_slot(value: Value) -> dict[tuple[object, int], list[Node]]:
    found: dict[tuple[object, int], list[Node]] = defaultdict(list)
    for user, index in value.uses:
        if user.graph is not None and user is not user.graph.ret:
            found[user.op, index].append(user)
    return found


def _alike(a: Node, b: Node) -> bool:
    return len(a.inputs) == len(b.inputs) and len(a.outputs) == len(b.outputs)


def _says(node: Node) -> Hashable:
    """What a node says itself."""
    return node.op, repr(sorted(node.attrs.items())), len(node.outputs)


class _Numbers(dict[Hashable, int]):
    """A number for each thing, the same for equal ones: what it is made of need not be compared again."""

    def __missing__(self, key: Hashable) -> int:
        self[key] = number = len(self)
        return number


def _causes(model: Model, weight: Weight, numbers: _Numbers) -> dict[Node, Hashable | None]:
    """For each node a number for all that leads to it; regions count with where they stand."""
    values: dict[Value | None, Hashable] = {None: "-"}

    def of(value: Value | None) -> Hashable:
        return values[value] if value is None or value.const is None else ("weight", weight(value))

    found: dict[Node, Hashable | None] = {}
    around: dict[Graph, Hashable] = {model.graph: "main"}
    for item in traverse(model.graph):
        if isinstance(item, Graph):
            names = item.input_names if item is model.graph else range(len(item.inputs))
            for name, value in zip(names, item.inputs):
                values[value] = numbers[around[item], "input", name]
        elif item is not None:
            assert item.graph is not None
            key = numbers[around[item.graph], _says(item), *(of(value) for value in item.inputs)]
            found[item] = key
            for value in item.outputs:
                values[value] = numbers[key, value.index]
            around.update({region: numbers[key, name] for name, region in item.regions.items()})
    return found


def _effects(model: Model, weight: Weight, numbers: _Numbers) -> dict[Node, Hashable | None]:
    """For each node a number for all that follows from it, down to the outputs."""
    found: dict[Node, Hashable | None] = {}
    for graph in reversed(list(model.graph.graphs())):  # inner ones first: what is captured is read in there
        for node in graph.reversed():
            uses: list[int] = []
            for value in node.outputs:
                for user, index in value.uses:
                    around = user.graph
                    assert around is not None
                    if user is around.ret:
                        name = around.output_names[index] if around is model.graph else index
                        uses.append(numbers["output", value.index, name, around is model.graph])
                    else:
                        uses.append(numbers[found[user], value.index, index])
            weights = [weight(v) if v is not None and v.const is not None else None for v in node.inputs]
            found[node] = numbers[_says(node), *weights, *sorted(uses)]
    return found
