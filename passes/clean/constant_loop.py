"""constant-loop: a Loop of no trip or one trip is replaced by what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value, constant
from ...ir.infer import infer_graph
from ...ir.tensor import Tensor
from ...ir.types import BOOL, I64
from ..base import Context, Pass


@dataclass(frozen=True)
class ConstantLoop(Pass):
    """A Loop that is known to run not at all, or once, is replaced by what it computes.

    No trip: the outputs are the initial values; a loop whose scan outputs are used stays, as these are empty
    tensors. One trip: the body moves to where the loop was, its scan outputs get a leading axis of size one.
    """

    name: ClassVar[str] = "constant-loop"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any Loop was replaced."""
        changed = False
        for graph in reversed(model.graphs()):
            for node in graph:
                trips = known_trips(node)
                if trips is None or trips > 1:
                    continue
                carried = max(len(node.inputs) - 2, 0)
                if trips == 0 and any(value.uses for value in node.outputs[carried:]):
                    continue
                if None in node.inputs[2:] or not ctx.allow(self.name, "", node):
                    continue
                created: list[Node] = []
                with ctx.rewrite(self.name, "", [node], created):
                    if trips == 0:
                        _skip(graph, node)
                    else:
                        created.extend(_run_once(graph, node))
                changed = True
        if changed:  # the types of a branch or body were those of any condition or trip
            for root in model.roots():
                infer_graph(root)
        return changed


def known_trips(node: Node) -> int | None:
    """How often a Loop runs where that is known: 0, 1, or a number that the body's condition cannot change."""
    if node.op.key != "Loop":
        return None
    limit, start = (None if v is None else v.const for v in (node.input(0), node.input(1)))
    if start is not None and not start.item():
        return 0
    if limit is None:
        return None
    trips = max(int(limit.item()), 0)
    if trips == 0:
        return 0
    if start is None and node.input(1) is not None:
        return None
    if trips == 1:
        return 1
    again = node.regions["body"].outputs[0]
    unchanged = again is node.regions["body"].inputs[1]
    if unchanged or (again.const is not None and again.const.item()):
        return trips
    return None


def _skip(graph: Graph, node: Node) -> None:
    for output, initial in zip(node.outputs, node.inputs[2:]):
        assert initial is not None
        output.replace_with(initial)
    graph.erase(node)


def _run_once(graph: Graph, node: Node) -> list[Node]:
    body = node.regions["body"]
    carried = max(len(node.inputs) - 2, 0)
    trip = constant(Tensor.of(0, I64))
    going = constant(Tensor.of(True, BOOL))
    given = [trip, going, *node.inputs[2:]]
    for parameter, argument in zip(body.inputs, given):
        assert argument is not None
        parameter.replace_with(argument)
    moved = list(body)
    results: list[Value] = list(body.outputs[1:])
    b = Builder(graph, node, node.loc)
    for inner in moved:
        inner.loc = inner.loc or node.loc
        graph.move(inner, node)
    axes = b.ints([0])
    for index in range(carried, len(results)):
        if node.outputs[index].uses:
            results[index] = b.op("Unsqueeze", results[index], axes)
    for output, result in zip(node.outputs, results):
        output.replace_with(result)
    graph.erase(node)
    return [*moved, *b.created]
