"""constant-loop: a Loop of no trip or one trip is replaced by what it computes; a start that no trip reads is zeros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value, constant
from ...ir.infer import infer_graph
from ...ir.tensor import Tensor
from ...ir.types import BOOL, I64, STR, TensorType
from ..base import Context, Pass


@dataclass(frozen=True)
class ConstantLoop(Pass):
    """A Loop that is known to run not at all, or once, is replaced by what it computes.

    No trip: the outputs are the initial values; a loop whose scan outputs are used stays, as these are empty
    tensors. One trip: the body moves to where the loop was, its scan outputs get a leading axis of size one.

    Of a loop that is known to run, the start of a state that its body never reads may be anything: it becomes zeros of
    the type that the body returns. Exporters write a number there, and the type of the result is lost.
    """

    name: ClassVar[str] = "constant-loop"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any Loop was replaced, or starts otherwise."""
        changed = False
        for graph in reversed(model.graphs()):
            for node in graph:
                trips = known_trips(node)
                if trips is None or trips > 1:
                    changed |= self._start(node, ctx)
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

    def _start(self, node: Node, ctx: Context) -> bool:
        """Give what no trip reads the type of what is returned; True if anything changed."""
        unread = _unread(node)
        if not unread or not ctx.allow(self.name, "", node):
            return False
        with ctx.rewrite(self.name, "", [node], []):
            for slot, zeros in unread.items():
                node.set_input(slot, zeros)
        return True


def _unread(node: Node) -> dict[int, Value]:
    """Operands of a Loop that nothing reads, of another type than what comes out in their place; zeros of that."""
    if node.op.key != "Loop" or not _runs(node):
        return {}
    body = node.regions["body"]
    found = {}
    for slot in range(2, len(node.inputs)):
        start, type = node.inputs[slot], body.outputs[slot - 1].type
        if body.inputs[slot].uses or start is None or start.type is type or not isinstance(type, TensorType):
            continue
        sizes = tuple(dim for dim in type.shape or () if isinstance(dim, int))
        if type.shape is not None and len(sizes) == len(type.shape) and type.dtype is not STR and type.dtype.bits >= 8:
            found[slot] = constant(Tensor.of_splat(0, sizes, type.dtype))
    return found


def _runs(node: Node) -> bool:
    """True if a Loop is known to make a trip."""
    limit, start = node.input(0), node.input(1)
    is_open = start is None or (start.const is not None and bool(start.const.item()))
    return is_open and (limit is None or (limit.const is not None and int(limit.const.item()) > 0))


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
