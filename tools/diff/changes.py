"""What two models differ in, once it is known which nodes correspond.

Nodes without a counterpart that hang together are one change, whichever their number: what a fusion took away and what
it put there. Of nodes that correspond the operator, attributes, operands, types and regions are compared one by one, so
that what is called the same has been proven to be. What only follows from another change is kept apart: users of a
value that was replaced, types behind a type that changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.core import Graph, Model, Node, Value
from ...ir.equal import same_attribute
from ...passes.instruments import where
from .change import INTERFACE, Change
from .groups import Groups, is_shared
from .interface import interface_changes
from .matching import Matching, match_models
from .summary import Summary, summary_of
from .typing import SameTypes
from .weights import weight_change
from .words import graph_text, named, place_of, short


@dataclass
class Difference:
    """All that two models differ in; `quiet` counts what does not make them different: names, order, places."""

    matching: Matching
    changes: list[Change]
    summary: Summary
    quiet: dict[str, int]
    notes: list[str]
    followed: int = 0  # statements whose operands or types follow from the changes

    @property
    def same(self) -> bool:
        """True if the models are structurally equal, up to names inside and the order of nodes."""
        return not self.changes


def compare_models(before: Model, after: Model) -> Difference:
    """Match two models, and tell what differs. Neither is changed. Raises OSError where weights cannot be read."""
    matching = match_models(before, after)
    types = SameTypes(before.graph, after.graph, matching)
    found = _Comparison(matching, types)
    changes = interface_changes(before, after, matching, types)
    for a, b in matching.graphs:
        found.graphs(a, b)
    found.moved(before)
    found.unmatched()
    changes += [*found.weights.values(), *found.changes]
    order = {node: number for number, node in enumerate(before.walk())}

    def place(change: Change) -> float:
        if change.kind in INTERFACE:
            return -2.0
        if change.before:
            return order.get(change.before[0], len(order))
        # What was added stands behind what stands before it in the second model.
        return order.get(found.standing_before(change.after[0]), -1) + 0.5

    changes.sort(key=place)
    notes = [
        f"{what} differ: not counted"
        for what in ("metadata", "info", "opaque", "opsets")
        if getattr(before, what) != getattr(after, what)
    ]
    return Difference(matching, changes, summary_of(before, after), found.quiet(), notes, found.followed)


class _Comparison:
    def __init__(self, matching: Matching, types: SameTypes) -> None:
        self.matching = matching
        self.types = types
        self.changes: list[Change] = []
        self.weights: dict[tuple[Value, Value], Change] = {}
        self.followed = 0
        self._rewired: list[tuple[Node, Node, list[Node], list[Node]]] = []
        self._other_types: set[Value] = set()  # of the first model, whose counterparts have another type
        self._removed: list[Node] = []
        self._added: list[Node] = []

    # Nodes that correspond

    def graphs(self, a: Graph, b: Graph) -> None:
        """Compare the nodes of two graphs that correspond, and what the graphs return."""
        self._removed += [node for node in a if node not in self.matching.nodes]
        self._added += [node for node in b if node not in self.matching.origins]
        if a.parent is not None:
            self._region_inputs(a, b)
        else:  # what differs in inputs is told by itself
            pairs = ((value, self.matching.values.get(value)) for value in a.inputs)
            self._other_types.update(v for v, twin in pairs if twin is None or not self.types.same(v.type, twin.type))
        for node in a:
            other = self.matching.nodes.get(node)
            if other is not None and other.graph is b:
                self._nodes(node, other)
        self._returns(a, b)

    def moved(self, before: Model) -> None:
        """Compare nodes that stand in another graph than their counterparts; one change for each pair of graphs."""
        graphs = set(self.matching.graphs)
        found: dict[tuple[Graph, Graph], Change] = {}
        for x in before.walk():
            y = self.matching.nodes.get(x)
            if y is None or x.graph is None or y.graph is None:
                continue
            pair = (x.graph, y.graph)
            if pair not in graphs:
                if pair not in found:
                    said = f"from {graph_text(x.graph)} to {graph_text(y.graph)}"
                    found[pair] = Change("moved", "", details=[said])
                found[pair].before.append(x)
                found[pair].after.append(y)
                self._nodes(x, y)
        for change in found.values():
            change.where = place_of(change.before)
        self.changes += found.values()

    def _region_inputs(self, a: Graph, b: Graph) -> None:
        assert a.parent is not None and b.parent is not None
        if len(a.inputs) != len(b.inputs):
            said = f"a region has {len(b.inputs)} inputs, not {len(a.inputs)}"
            self.changes.append(Change("changed", where(a.parent), [a.parent], [b.parent], [said]))
        follows = any(value in self._other_types for value in a.parent.inputs)
        for x, y in zip(a.inputs, b.inputs):
            if not self.types.same(x.type, y.type):
                self._other_types.add(x)
                if not follows:
                    said = f"type of the region's input %{x.hint}: {x.type} -> {y.type}"
                    self.changes.append(Change("changed", where(a.parent), [a.parent], [b.parent], [said]))
                follows = True

    def _nodes(self, x: Node, y: Node) -> None:
        details = []
        if x.op is not y.op:
            details.append(f"operator {x.op.key} -> {y.op.key}")
        for name in sorted(x.attrs.keys() | y.attrs.keys()):
            a, b = (node.attrs.get(name, node.op.attr_default(name)) for node in (x, y))
            if not same_attribute(a, b, self.types.same):
                details.append(f"{name} {short(a)} -> {short(b)}")
        if x.regions.keys() != y.regions.keys():
            details.append(f"regions {', '.join(x.regions) or 'none'} -> {', '.join(y.regions) or 'none'}")
        if len(x.outputs) != len(y.outputs):
            details.append(f"{len(x.outputs)} results -> {len(y.outputs)}")
        follows = self._operands(x, y, details)
        self._types(x, y, details, follows)
        if details:
            self.changes.append(Change("changed", where(x), [x], [y], details))

    def _operands(self, x: Node, y: Node, details: list[str]) -> bool:
        """Compare operands; True if one is another value because of another change."""
        theirs = y.inputs
        if x.op.commutative and len(x.inputs) == len(theirs) == 2 and self._exchanged(x, y):
            details.append("operands exchanged")
            theirs = theirs[::-1]
        if len(x.inputs) != len(y.inputs):
            details.append(f"{len(x.inputs)} operands -> {len(y.inputs)}")
        gone: list[Node] = []
        come: list[Node] = []
        follows = False
        for index, (u, v) in enumerate(zip(x.inputs, theirs)):
            if self.matching.same_value(u, v):
                continue
            if u is not None and v is not None and u.const is not None and v.const is not None:
                self._weight(u, v, x, y)
                if not self.types.same(u.type, v.type):
                    follows = True
                continue
            old = self._without(u, self.matching.nodes)
            new = self._without(v, self.matching.origins)
            if old is None and new is None and not self._is_unmatched_input(u, v):
                details.append(f"operand {index} {named(u)} -> {named(v)}")
            gone += [] if old is None else [old]
            come += [] if new is None else [new]
            follows = True
        for value in (*x.inputs[len(y.inputs) :], *y.inputs[len(x.inputs) :]):
            follows = follows or value is not None
        if gone or come:
            self._rewired.append((x, y, gone, come))
            self.followed += not details
        return follows

    def _exchanged(self, x: Node, y: Node) -> bool:
        """True if the two operands correspond better crosswise."""
        same = self.matching.same_value
        (a, b), (c, d) = x.inputs, y.inputs
        return same(a, d) + same(b, c) > same(a, c) + same(b, d)

    def _without(self, value: Value | None, matched: dict[Node, Node]) -> Node | None:
        """The maker of a value that has no counterpart."""
        maker = None if value is None else value.producer
        return maker if maker is not None and maker not in matched else None

    def _is_unmatched_input(self, u: Value | None, v: Value | None) -> bool:
        """True if an operand is an input that one model alone has: the interface tells it."""
        ours = u is not None and u.is_input and u not in self.matching.values
        return ours or (v is not None and v.is_input and v not in self.matching.sources)

    def _weight(self, u: Value, v: Value, x: Node, y: Node) -> None:
        change = self.weights.get((u, v))
        if change is None:
            assert u.const is not None and v.const is not None
            name = u.hint or where(x)
            change = Change("weight", name, [], [], [weight_change(u.const, v.const)], weights=[(u, v)])
            self.weights[u, v] = change
        change.before.append(x)
        change.after.append(y)

    def _types(self, x: Node, y: Node, details: list[str], follows: bool) -> None:
        other = [(u, v) for u, v in zip(x.outputs, y.outputs) if not self.types.same(u.type, v.type)]
        if not other:
            return
        self._other_types.update(u for u, _ in other)
        results = (value for region in x.regions.values() for value in region.outputs)
        if follows or any(v in self._other_types for v in x.inputs) or any(map(self._is_other, results)):
            self.followed += not details
        elif not details:
            details += [f"type of %{u.hint}: {u.type} -> {v.type}" for u, v in other]

    def _is_other(self, result: Value) -> bool:
        """True if what a region returns has no counterpart, or one of another type: the node around it follows."""
        twin = self.matching.values.get(result)
        return result.const is None and (twin is None or not self.types.same(result.type, twin.type))

    def _returns(self, a: Graph, b: Graph) -> None:
        gone: list[Node] = []
        come: list[Node] = []
        for i, j in self.matching.outputs[a, b]:
            u, v = a.outputs[i], b.outputs[j]
            if self.matching.same_value(u, v):
                continue
            old = self._without(u, self.matching.nodes)
            new = self._without(v, self.matching.origins)
            if old is not None or new is not None:
                gone += [] if old is None else [old]
                come += [] if new is None else [new]
            elif u.const is not None and v.const is not None:
                self._weight(u, v, a.ret, b.ret)
            else:
                said = f"{named(u)} -> {named(v)}"
                if a.parent is None:
                    self.changes.append(Change("output", a.output_names[i], [], [], [said]))
                else:
                    said = f"a region returns {said}"
                    self.changes.append(Change("changed", where(a.parent), [a.parent], [b.parent or b.ret], [said]))
        if a.parent is not None and b.parent is not None and len(a.outputs) != len(b.outputs):
            said = f"a region returns {len(b.outputs)} values, not {len(a.outputs)}"
            self.changes.append(Change("changed", where(a.parent), [a.parent], [b.parent], [said]))
        if gone or come:
            self._rewired.append((a.ret, b.ret, gone, come))

    # Nodes without a counterpart

    def unmatched(self) -> None:
        """One change for what hangs together among nodes that one model alone has."""
        groups = Groups([*self._removed, *self._added])
        for node in (*self._removed, *self._added):
            for value in node.inputs:
                if value is not None and not is_shared(value):
                    groups.join(node, value.producer)
        rewired = [(x, y, groups.listed([*gone, *come])) for x, y, gone, come in self._rewired]
        for _, _, nodes in rewired:
            for node in nodes[1:]:
                groups.join(nodes[0], node)
        names: dict[str, Node] = {}
        for node in self._removed:
            names.update(dict.fromkeys(node.loc, node))
        for node in self._added:
            for name in node.loc:
                groups.join(node, names.get(name))
        self._same_operands(groups)
        found: dict[Node, Change] = {}
        for nodes, side in ((self._removed, "before"), (self._added, "after")):
            for node in nodes:
                change = found.setdefault(groups.of(node), Change("replaced", ""))
                getattr(change, side).append(node)
        for x, y, nodes in rewired:
            if nodes:
                found[groups.of(nodes[0])].rewired.append((x, y))
        for change in found.values():
            change.where = place_of(change.before or change.after)
            change.kind = "removed" if not change.after else "added" if not change.before else "replaced"
        self.changes += found.values()

    def _same_operands(self, groups: Groups) -> None:
        """What reads the same as a node that went came in its place, whoever reads from it."""
        readers: dict[tuple[Value | None, ...], Node] = {}
        for node in self._removed:
            key = tuple(self.matching.values.get(v) for v in node.inputs if v is not None and v.const is None)
            if key and None not in key:
                readers.setdefault(key, node)
        for node in self._added:
            key = tuple(v for v in node.inputs if v is not None and v.const is None)
            groups.join(node, readers.pop(key, None))

    def standing_before(self, node: Node) -> Node:
        """The node of the first model that corresponds to what stands before a node of the second."""
        current = node.prev
        while current is not None and current not in self.matching.origins:
            current = current.prev
        return node if current is None else self.matching.origins[current]

    def quiet(self) -> dict[str, int]:
        """How many nodes correspond, have results of another name, another source, another place in the order."""
        pairs = list(self.matching.nodes.items())
        return {
            "matched": len(pairs),
            "renamed": sum(any(u.hint != v.hint for u, v in zip(x.outputs, y.outputs)) for x, y in pairs),
            "relocated": sum(x.loc != y.loc for x, y in pairs),
            "moved": sum(_moved(a, b, self.matching) for a, b in self.matching.graphs),
        }


def _moved(a: Graph, b: Graph, matching: Matching) -> int:
    """How many nodes have to be moved to bring one order into the other: all but a longest increasing run."""
    from bisect import bisect_left

    place = {node: number for number, node in enumerate(b)}
    numbers = [place[matching.nodes[node]] for node in a if matching.nodes.get(node) in place]
    ends: list[int] = []
    for number in numbers:
        at = bisect_left(ends, number)
        ends[at : at + 1] = [number]
    return len(numbers) - len(ends)
