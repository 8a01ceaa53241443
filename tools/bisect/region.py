"""What one step did to a model: the nodes that went, those that came, and the values that took each other's places.

Found by comparing copies of the model from before and after, so that it works for any rewrite, however it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...ir.clone import clone_model, copy_nodes, frontier, unique_name
from ...ir.core import Graph, Model, Node, Value
from ...passes.base import Instrument, Pass, Place, place_of
from ...passes.manager import Repeat
from .names import shorten

Use = tuple[Node, int]


class Snapshot:
    """A copy of a model, with what is needed to compare the original with it later."""

    def __init__(self, model: Model) -> None:
        self.model, self.of = clone_model(model)
        self.original = {copy: value for value, copy in self.of.items()}
        self.nodes = {node: _signature(node) for node in _live(model)}
        self.operands: dict[Node, tuple[Value | None, ...]] = {node: node.inputs for node in self.nodes}
        self.operands.update((graph.ret, graph.ret.inputs) for graph in model.graph.graphs())

    def copy_of(self, node: Node) -> Node | None:
        """The copy of a node; None for one that makes nothing."""
        return self.of[node.outputs[0]].producer if node.outputs and node.outputs[0] in self.of else None


def _live(model: Model) -> list[Node]:
    """The nodes in order; what a rewrite has built and not put to use yet is no part of the model before it."""
    dead: set[Node] = set()
    for graph in model.graphs():
        for node in graph.reversed():
            if node.op.pure and not node.regions and all(u in dead for value in node.outputs for u, _ in value.uses):
                dead.add(node)
    return [node for node in model.walk() if node not in dead]


def _signature(node: Node) -> Any:
    attributes = tuple(sorted((name, id(value)) for name, value in node.attrs.items()))
    return node.op, attributes, tuple(None if v is None else id(v.const) for v in node.inputs)


@dataclass
class Change:
    """One step: `nodes` (copies) before and after, and pairs of an old value and the new one in its place.

    `old` and `new` name copies in the snapshots' models.
    """

    before: Snapshot
    after: Snapshot
    nodes_before: list[Node]
    nodes_after: list[Node]
    old: list[Value]
    new: list[Value]

    @property
    def locations(self) -> list[str]:
        """Where in the source the nodes before it came from."""
        return list(dict.fromkeys(at for node in self.nodes_before for at in node.loc))

    @property
    def is_nested(self) -> bool:
        """True if it happened in a branch or a loop, whose values cannot be seen from outside."""
        return any(v.scope not in (None, self.before.model.graph) for v in self.old)

    def side(self, after: bool) -> Model:
        """The nodes of one side as a model of their own, to be read: its inputs are what they read, names are short."""
        nodes, results = (self.nodes_after, self.new) if after else (self.nodes_before, self.old)
        model = self._model([(self.after if after else self.before, nodes, results, "")])
        shorten(model)
        for node in model.walk():
            node.loc = ()
        return model

    def both(self) -> Model:
        """Both sides as one model over the same inputs: outputs NAME.before and NAME.after."""
        return self._model([
            (self.before, self.nodes_before, self.old, ".before"), (self.after, self.nodes_after, self.new, ".after"),
        ])  # fmt: skip

    def _model(self, sides: Sequence[tuple[Snapshot, list[Node], list[Value], str]]) -> Model:
        graph, taken = Graph("main"), set[str]()
        inputs: dict[Value, Value] = {}  # by the values of the original
        results: list[tuple[Value, str]] = []
        for snapshot, nodes, outputs, mark in sides:
            of: dict[Value, Value] = {}
            made = {value for node in nodes for value in node.outputs}
            read = frontier(nodes) + [v for v in outputs if v not in made and v.const is None]
            for value in dict.fromkeys(read):
                original = snapshot.original[value]
                if original not in inputs:
                    name = unique_name(value.hint or "input", taken)
                    inputs[original] = graph.add_input(name, value.type)
                of[value] = inputs[original]
            copy_nodes(nodes, graph, of)
            for value, old in zip(outputs, self.old):
                copy = of.get(value)
                if copy is None:
                    copy = Value(value.type, value.hint)
                    copy.const = value.const
                results.append((copy, unique_name((old.hint or "output") + mark, taken)))
        graph.set_outputs([value for value, _ in results], [name for _, name in results])
        model = Model(graph)
        source = sides[0][0].model
        model.functions, model.opsets, model.ir_version = source.functions, source.opsets, source.ir_version
        return model


def change_between(before: Snapshot, model: Model, matched: Sequence[Node] = ()) -> Change | None:
    """What happened to `model` since a snapshot; None for nothing. `matched`: nodes that are known to be part of it."""
    after = Snapshot(model)
    now = dict.fromkeys(model.walk())
    live = after.nodes
    gone = [node for node in before.nodes if node not in now]
    changed = [node for node in before.nodes if node in now and _signature(node) != before.nodes[node]]
    created = [node for node in now if node not in before.nodes and node in live]
    pairs: dict[tuple[Value, Value], None] = {}
    for node, operands in before.operands.items():
        if node in now or node.op.name == "Return":
            for old, new in zip(operands, node.inputs):
                if old is not None and new is not None and old is not new and old in before.of:
                    pairs[old, new] = None
    for node in changed:
        pairs.update(((value, value), None) for value in node.outputs)
    known = [node for node in matched if node in before.nodes]
    # A pass may have rewritten what it matched before it says so: then what it replaced is what is gone.
    part = {*known, *changed} if known and len(known) == len(matched) else {*known, *gone, *changed}
    nodes_before = [copy for node in before.nodes if node in part and (copy := before.copy_of(node)) is not None]
    nodes_after = [copy for node in (*created, *changed) if (copy := after.copy_of(node)) is not None]
    order = {node: number for number, node in enumerate(after.model.walk())}
    nodes_after.sort(key=lambda node: order[node])
    kept = [(old, new) for old, new in pairs if new in after.of]
    if not nodes_before and not nodes_after:
        return None
    return Change(
        before, after, _one_level(nodes_before), _one_level(nodes_after),
        [before.of[old] for old, _ in kept], [after.of[new] for _, new in kept],
    )  # fmt: skip


def _one_level(nodes: list[Node]) -> list[Node]:
    """Without the nodes that are inside regions of others among them."""
    inside = {inner for node in nodes for region in node.regions.values() for inner in region.walk()}
    return [node for node in nodes if node not in inside]


class Capture(Instrument):
    """Sees rewrite `number` (the first is 1) happen, in a run that allows none after it.

    `together`: how many rewrites the pass asked for before it did them all at once, this one being the last of them;
    the change that is seen is theirs.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.together = 1
        self._asked = 0  # rewrites that were allowed since the last one that was done
        self.change: Change | None = None
        self.place: Place | None = None
        self.step: Pass | None = None
        self._model: Model | None = None
        self._steps: list[Pass] = []
        self._before: Snapshot | None = None
        self._matched: tuple[Node, ...] = ()

    def before_pass(self, model: Model, step: Pass) -> None:
        self._model = model
        self._steps.append(step)
        self._asked = 0

    def on_allow(self, number: int, pass_name: str, rule: str, node: Node, allowed: bool) -> None:
        self._asked += allowed
        if number + 1 == self.number and self._model is not None:
            self.place, self.step = place_of(pass_name, rule, node), self._steps[-1]
            self._before = Snapshot(self._model)

    def before_rewrite(self, pass_name: str, rule: str, nodes: Sequence[Node]) -> Any:
        if self._before is not None and not self._matched:
            self._matched = tuple(nodes)
            self.together = max(1, min(self._asked, len(nodes)))
        self._asked = 0
        return None

    def after_pass(self, model: Model, step: Pass, changed: bool) -> None:
        self._steps.pop()
        if self._before is not None and step is self.step and self.change is None and not isinstance(step, Repeat):
            self.change = change_between(self._before, model, self._matched)
            self._before = None


class PassCapture(Instrument):
    """Sees what changing pass `number` (the first is 1) did, and counts all of them."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.count = 0
        self.step: Pass | None = None
        self.change: Change | None = None
        self._before: Snapshot | None = None

    def before_pass(self, model: Model, step: Pass) -> None:
        if self.count + 1 == self.number and not isinstance(step, Repeat):
            self._before = Snapshot(model)

    def after_pass(self, model: Model, step: Pass, changed: bool) -> None:
        if isinstance(step, Repeat) or not changed:
            return
        self.count += 1
        if self.count == self.number:
            self.step = step
            assert self._before is not None
            self.change = change_between(self._before, model)
