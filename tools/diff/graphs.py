"""Which nodes of two graphs correspond, once the values around them are matched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING

from ...ir.core import Graph, Node, Value
from .hashes import neighbourhoods

if TYPE_CHECKING:
    from .matching import Matching

RADII = (4, 2, 1)
"""Edges around a node within which neighbourhoods are compared."""
ROUNDS = 3  # of neighbourhoods of one size, each with what the one before has matched
CROWD = 64  # users of one value beyond which they are not tried pair by pair


class Graphs:
    """Matches the nodes of two graphs of which the values around them are matched already."""

    def __init__(
        self, found: Matching, a: Graph, b: Graph, forward: Mapping[Node, int], backward: Mapping[Node, int]
    ) -> None:
        self.found = found
        self.labels = found.labels
        self.forward, self.backward = forward, backward
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
            self._unique(self.labels.by_weights)
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
