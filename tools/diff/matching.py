"""Which nodes of two models correspond.

Anchors come first: inputs and outputs by name, then nodes whose hashes from both sides, or from one side, are found
once in each model. From there matches grow along edges: the makers of corresponding operands, the users of
corresponding values. What is left is matched by ever smaller neighbourhoods, by source names, and at last by the
operator alone where neighbours correspond. Nested graphs are matched where the nodes around them are. Each step is
linear in the number of edges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from ...ir.core import Graph, Model, Node, Value
from ...ir.types import TensorType, Type
from .hashes import Labels, backward, forward, neighbourhoods

RADII = (4, 2, 1)
"""Edges around a node within which neighbourhoods are compared."""
ROUNDS = 3  # of neighbourhoods of one size, each with what the one before has matched
TELLING = 8  # elements from which on a constant tells nodes apart
CROWD = 64  # users of one value beyond which they are not tried pair by pair


class Matching:
    """Corresponding nodes and values of two models, `before` and `after`.

    `nodes` leads from nodes of the first model to those of the second, `origins` back; `graphs` are pairs of graphs
    that were compared, outer ones before those inside.
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
        waiting = [(a, b)]
        for pair in waiting:  # grows while it is read: nested graphs correspond where the nodes around them do
            found.graphs.append(pair)
            self._pair(*pair, waiting)

    def _pair(self, a: Graph, b: Graph, waiting: list[tuple[Graph, Graph]]) -> None:
        if (a, b) != (self.a, self.b):
            for x, y in zip(a.inputs, b.inputs):
                self.found.add_value(x, y)
            count = min(len(a.outputs), len(b.outputs))
            self.found.outputs[a, b] = [(index, index) for index in range(count)]
        _Graphs(self, a, b).match()
        for node in a:
            other = self.found.nodes.get(node)
            if other is not None and node.regions:
                waiting += [
                    (region, other.regions[name]) for name, region in node.regions.items() if name in other.regions
                ]


class _Graphs:
    """Matches the nodes of two graphs of which the values around them are matched already."""

    def __init__(self, roots: _Roots, a: Graph, b: Graph) -> None:
        self.found = roots.found
        self.labels = roots.labels
        self.forward, self.backward = roots.forward, roots.backward
        self.a, self.b = a, b
        self._level: Callable[[Node], Hashable] = self.labels.with_constants
        self._work: list[tuple[Node, Node]] = []

    def match(self) -> None:
        both = {node: (self.forward[node], self.backward[node]) for graph in (self.a, self.b) for node in graph}
        self._from_all(self.labels.with_constants)
        self._unique(both.__getitem__)
        self._unique(self.forward.__getitem__)
        self._unique(self.backward.__getitem__)
        self._in_order(both.__getitem__)
        self._in_order(self.forward.__getitem__)
        for level in (self.labels.with_constants, self.labels.of, _roughly):
            self._from_all(level)
            self._unique(self._by_weights)
            for radius in RADII:
                self._around(level, radius)
            self._unique(_by_name)
        self._loosely()
        self._part()

    # What is left

    def _rest(self, graph: Graph) -> list[Node]:
        known = self.found.nodes if graph is self.a else self.found.origins
        return [node for node in graph if node not in known]

    def _is_done(self) -> bool:
        return not self._rest(self.a) or not self._rest(self.b)

    def _is_free(self, a: Node, b: Node) -> bool:
        return a not in self.found.nodes and b not in self.found.origins

    def _add(self, a: Node, b: Node) -> None:
        self.found.add(a, b)
        self._work.append((a, b))

    # Anchors

    def _buckets(self, key: Callable[[Node], Hashable]) -> Iterable[tuple[list[Node], list[Node]]]:
        buckets: dict[Hashable, tuple[list[Node], list[Node]]] = {}
        for index, graph in enumerate((self.a, self.b)):
            for node in self._rest(graph):
                buckets.setdefault(key(node), ([], []))[index].append(node)
        return buckets.values()

    def _unique(self, key: Callable[[Node], Hashable]) -> bool:
        """Match nodes whose key is found once in each graph, and grow; True if there were any."""
        any_found = False
        for ours, theirs in self._buckets(key):
            if len(ours) == len(theirs) == 1 and self._is_free(ours[0], theirs[0]) and _op(ours[0]) is _op(theirs[0]):
                self._add(ours[0], theirs[0])
                any_found = True
        self._grow()
        return any_found

    def _in_order(self, key: Callable[[Node], Hashable]) -> None:
        """Match nodes of equal keys, the first with the first, growing from each before the next is taken."""
        for ours, theirs in self._buckets(key):
            free = iter(theirs)
            for node in ours:
                if node in self.found.nodes:
                    continue
                other = next((n for n in free if n not in self.found.origins), None)
                if other is None:
                    break
                self._add(node, other)
                self._grow()

    def _around(self, level: Callable[[Node], Hashable], radius: int) -> None:
        """Match nodes whose neighbourhoods are found once in each graph, until there are none."""
        for _ in range(ROUNDS):
            ours, theirs = self._rest(self.a), self._rest(self.b)
            if not ours or not theirs:
                return
            known: dict[Value, int] = {}
            for number, (x, y) in enumerate(self.found.values.items()):
                known[x] = known[y] = hash((9, number))
            rest = [*ours, *theirs]
            hashes = neighbourhoods(rest, {node: hash(level(node)) for node in rest}, known, radius)
            if not self._unique(hashes.__getitem__):
                return

    def _by_weights(self, node: Node) -> Hashable:
        """What a node is with its constants, if one is large enough to be found nowhere else by chance."""
        large = any(v is not None and v.const is not None and v.const.size >= TELLING for v in node.inputs)
        return self.labels.with_constants(node) if large else node

    # Growth

    def _from_all(self, level: Callable[[Node], Hashable]) -> None:
        """From now on nodes are alike when `level` says so; grow from all that is matched."""
        self._level = level
        if self._is_done():
            return
        for a in self.a.inputs:
            b = self.found.values.get(a)
            if b is not None:
                self._users(a, b)
        if (self.a, self.b) in self.found.outputs:
            for i, j in self.found.outputs[self.a, self.b]:
                self._makers(self.a.outputs[i], self.b.outputs[j])
        self._work += [(node, self.found.nodes[node]) for node in self.a if node in self.found.nodes]
        self._grow()

    def _grow(self) -> None:
        while self._work:
            a, b = self._work.pop()
            for u, v in zip(a.inputs, b.inputs):
                self._makers(u, v)
            if a.op.commutative and len(a.inputs) == len(b.inputs) == 2:
                self._makers(a.inputs[0], b.inputs[1])
                self._makers(a.inputs[1], b.inputs[0])
            for u, v in zip(a.outputs, b.outputs):
                self._users(u, v)

    def _makers(self, u: Value | None, v: Value | None) -> None:
        x, y = None if u is None else u.producer, None if v is None else v.producer
        if x is None or y is None or u is None or v is None or u.index != v.index:
            return
        if x.graph is self.a and y.graph is self.b and self._is_free(x, y) and self._level(x) == self._level(y):
            self._add(x, y)

    def _users(self, u: Value, v: Value) -> None:
        ours, theirs = self._free_users(u, self.a, self.found.nodes), self._free_users(v, self.b, self.found.origins)
        for key, mine in ours.items():
            others = theirs.get(key)
            if others and len(mine) == len(others) == 1 and self._is_free(mine[0], others[0]):
                self._add(mine[0], others[0])

    def _free_users(self, value: Value, graph: Graph, known: dict[Node, Node]) -> dict[Hashable, list[Node]]:
        found: dict[Hashable, list[Node]] = defaultdict(list)
        for node, place in value.uses:
            if node.graph is graph and node not in known and node is not graph.ret:
                found[self._level(node), 0 if node.op.commutative else place].append(node)
        return found

    # The last resort

    def _loosely(self) -> None:
        """Match nodes of one operator by how many of their neighbours correspond, the best first."""
        scores: dict[tuple[Node, Node], float] = defaultdict(float)
        values = self.found.values
        for node in self._rest(self.a):
            for place, operand in enumerate(node.inputs):
                twin = None if operand is None else values.get(operand)
                if twin is not None:
                    self._score(scores, node, [user for user, at in _few(twin) if at == place])
            for result in node.outputs:
                for user, place in _few(result):
                    other = self.found.nodes.get(user)
                    operand = None if other is None or place >= len(other.inputs) else other.inputs[place]
                    if operand is not None and operand.producer is not None:
                        self._score(scores, node, [operand.producer])
        order = {node: number for graph in (self.a, self.b) for number, node in enumerate(graph)}
        for (a, b), _ in sorted(scores.items(), key=lambda item: (-item[1], order[item[0][0]], order[item[0][1]])):
            if self._is_free(a, b):
                self._add(a, b)
                self._grow()

    def _part(self) -> None:
        """Take pairs apart of which nothing around corresponds."""
        found = self.found
        for a in self.a:
            b = found.nodes.get(a)
            if b is None or any(map(found.same_value, a.inputs, b.inputs)) or not (a.inputs or b.inputs):
                continue
            if a.op.commutative and any(found.same_value(u, v) for u in a.inputs for v in b.inputs):
                continue
            if not any(self._is_used_alike(u, v) for u, v in zip(a.outputs, b.outputs)):
                found.remove(a, b)

    def _is_used_alike(self, u: Value, v: Value) -> bool:
        used = {(user, place) for user, place in v.uses}
        if any((self.found.nodes.get(user), place) in used for user, place in u.uses):
            return True
        pairs = self.found.outputs.get((self.a, self.b), ())
        return any(self.a.outputs[i] is u and self.b.outputs[j] is v for i, j in pairs)

    def _score(self, scores: dict[tuple[Node, Node], float], node: Node, others: Iterable[Node]) -> None:
        for other in others:
            if other.graph is self.b and other.op is node.op and other not in self.found.origins:
                scores[node, other] += 1.0
                if self.labels.of(node) == self.labels.of(other):
                    scores[node, other] += 0.1


def _few(value: Value) -> Iterable[tuple[Node, int]]:
    return value.uses if len(value.uses) <= CROWD else ()


def _op(node: Node) -> Hashable:
    return node.op


def _roughly(node: Node) -> Hashable:
    """The operator, and the shapes of constants: layers of other sizes are other layers."""
    return node.op, tuple(None if v is None or v.const is None else v.const.shape for v in node.inputs)


def _by_name(node: Node) -> Hashable:
    """The operator and the source's name; nodes without a name are alike to none."""
    return (node.op, node.loc[-1]) if node.loc else node
