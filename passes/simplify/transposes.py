"""transposes: transposes move through other operators where that makes some of them cancel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from typing import ClassVar

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value, constant
from ...ir.infer import infer_node
from ...ir.ops import op
from ...ir.tensor import Tensor
from ...ir.types import TensorType, Type, tensor_type
from ..base import Context, Pass
from .layouts import Perm, inverse, moved_attributes, moves

_TRANSPOSE = op("Transpose")
# A region this large has met every transpose near it.
_MAX_REGION = 400
# Constants up to this size are transposed when the model is compiled; larger ones stay as they are in the file.
_MAX_CONSTANT = 1 << 20


@dataclass(frozen=True)
class Transposes(Pass):
    """Transposes that meet their inverse behind a region of layout-free operators cancel with it.

    Around each transpose the pass collects the connected region of operators that can work in the layout before it
    (elementwise ones, and those whose axes can be renumbered: Concat, Softmax, Split, Pad, Slice, reductions). If
    the region then needs fewer transposes at its borders than it has now, it is turned over; else it stays as it is.
    Reductions that drop axes without changing the order of the others end a region for free.
    """

    name: ClassVar[str] = "transposes"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any region was turned over."""
        changed = False
        for graph in model.graphs():
            refused: set[tuple[Node, Perm]] = set()
            for node in list(graph.index.get(_TRANSPOSE, ())):
                if node.graph is not graph:
                    continue  # went with an earlier region
                perm = permutation(node)
                if perm is None:
                    continue
                users = [user for user in node.output.users if user.graph is graph and moves(user, perm)]
                if all((user, perm) in refused for user in users):
                    continue
                region = _Region(node, perm)
                if region.gain() <= 0:
                    refused.update((member, perm) for member in region.nodes)
                    continue
                if ctx.allow(self.name, "", node):
                    with ctx.rewrite(self.name, "", [node, *region.nodes]):
                        region.turn_over()
                    changed = True
        return changed


def permutation(node: Node) -> Perm | None:
    """A Transpose's permutation; None where it is the default one of an unknown rank."""
    perm = node.attrs.get("perm")
    if perm is None:
        rank = node.inputs[0].rank if node.inputs[0] is not None else None
        return None if rank is None else tuple(reversed(range(rank)))
    return tuple(perm)


class _Region:
    """The operators around a transpose that could work on its input's layout instead of its output's."""

    def __init__(self, start: Node, perm: Perm) -> None:
        self.perm = perm
        self.graph: Graph = start.graph  # type: ignore[assignment]
        self.nodes: dict[Node, None] = {}
        waiting = list(start.output.users)
        for node in waiting:  # grows while we go, the nearest first
            if len(self.nodes) >= _MAX_REGION:
                break
            if node in self.nodes or node.graph is not self.graph or not moves(node, perm):
                continue
            self.nodes[node] = None
            for value in node.outputs:
                if value.rank == len(perm):
                    waiting.extend(value.users)
            for operand in node.inputs:
                producer = operand.producer if operand is not None else None
                if producer is not None and operand is not None and operand.rank == len(perm):
                    waiting.append(producer)

    def _operands(self) -> dict[Value, None]:
        """Values of full rank that enter the region from outside."""
        found: dict[Value, None] = {}
        for node in self.nodes:
            for value in node.inputs:
                if value is not None and value.producer not in self.nodes and _is_laid_out(value, self.perm):
                    found[value] = None
        return found

    def _results(self) -> dict[Value, None]:
        """Values of full rank that leave the region for anything but the inverse transpose."""
        found: dict[Value, None] = {}
        for node in self.nodes:
            for value in node.outputs:
                if value.rank == len(self.perm) and any(
                    user not in self.nodes and not self._cancels(user) for user in value.users
                ):
                    found[value] = None
        return found

    def _cancels(self, user: Node) -> bool:
        return user.op is _TRANSPOSE and permutation(user) == inverse(self.perm)

    def _feeds(self, value: Value) -> bool:
        """True if `value` is such a transpose of what does not change its own layout with the region."""
        producer = value.producer
        if producer is None or producer.op is not _TRANSPOSE or permutation(producer) != self.perm:
            return False
        source = producer.inputs[0]
        return source is not None and source.producer not in self.nodes

    def gain(self) -> int:
        """Transposes saved by turning the region over; 0 where a large constant would have to move along."""
        constants = [v.const for node in self.nodes for v in node.inputs if v is not None and v.const is not None]
        if any(const.stored_bytes > _MAX_CONSTANT for const in constants):
            return 0
        added = len(self._results())
        removed = 0
        for value in self._operands():
            if value.const is not None:
                continue
            if self._feeds(value):
                removed += all(user in self.nodes for user in value.users)
            else:
                added += 1
        for node in self.nodes:
            for value in node.outputs:
                removed += sum(self._cancels(user) for user in value.users if user not in self.nodes)
        return removed - added

    def turn_over(self) -> None:
        """Let the region work on the other layout."""
        perm, back = self.perm, inverse(self.perm)
        results = self._results()
        operands: dict[Value, Value] = {}
        for value in self._operands():
            operands[value] = self._source(value, back)
        order = sorted(self.nodes, key=cmp_to_key(_in_order))
        for node in order:
            node.set_inputs(
                [self._low_rank(v, node) if v is None or v not in operands else operands[v] for v in node.inputs]
            )
            moved_attributes(node, perm)
        for node in order:
            for value in node.outputs:
                value.type = _moved_type(value.type, back)
            infer_node(node)
        for node in order:
            for value in node.outputs:
                self._leave(node, value, value in results)

    def _source(self, value: Value, back: Perm) -> Value:
        """The value in the region's new layout."""
        if value.const is not None:
            return constant(_moved_constant(value.const, back), value.hint)
        if self._feeds(value):
            assert value.producer is not None and value.producer.inputs[0] is not None
            return value.producer.inputs[0]
        builder = Builder(self.graph, self._after(value))
        return builder.node(_TRANSPOSE, [value], {"perm": back}).output

    def _after(self, value: Value) -> Node | None:
        """The first node of this graph at which `value` is there."""
        producer = value.producer
        if producer is not None and producer.graph is self.graph:
            return producer.next
        return self.graph.first

    def _low_rank(self, value: Value | None, node: Node) -> Value | None:
        """An operand of lower rank broadcasts from the right: constants get the missing axes and move along."""
        if value is None or value.const is None or value.rank in (None, 0, len(self.perm)):
            return value
        if value.const.size == 1 or not node.op.elementwise:
            return value
        return constant(_moved_constant(value.const, inverse(self.perm)), value.hint)

    def _leave(self, node: Node, value: Value, needs_transpose: bool) -> None:
        if value.rank != len(self.perm):
            return
        outside = [(user, index) for user, index in value.uses if user not in self.nodes]
        rest = [(user, index) for user, index in outside if not self._cancels(user)]
        for user in dict.fromkeys(user for user, _ in outside if self._cancels(user)):
            user.output.replace_with(value)
            assert user.graph is not None
            user.graph.erase(user)  # its type was right for the old layout only
        if needs_transpose:
            builder = Builder(self.graph, node.next, node.loc)
            restored = builder.node(_TRANSPOSE, [value], {"perm": self.perm}, outputs=[value.hint]).output
            value.hint = ""
            for user, index in rest:
                user.set_input(index, restored)


def _in_order(a: Node, b: Node) -> int:
    return -1 if a.is_before(b) else 1


def _is_laid_out(value: Value, perm: Sequence[int]) -> bool:
    """Full rank and not just one element, which has the same layout everywhere."""
    if value.rank != len(perm):
        return False
    return value.const is None or value.const.size != 1


def _moved_constant(const: Tensor, back: Perm) -> Tensor:
    """A constant in the other layout, with all axes."""
    shape = (1,) * (len(back) - len(const.shape)) + const.shape
    moved = tuple(shape[axis] for axis in back)
    if const.splat is not None:
        return Tensor.of_splat(const.splat, moved, const.dtype)
    array = np.ascontiguousarray(np.transpose(const.array().reshape(shape), back))
    return Tensor.from_array(array.reshape(moved), const.dtype)


def _moved_type(type_: Type | None, back: Perm) -> Type | None:
    """What is known of a value, in the other layout; values of another rank stay as they are."""
    if not isinstance(type_, TensorType) or type_.shape is None or len(type_.shape) != len(back):
        return type_
    return tensor_type(type_.dtype, tuple(type_.shape[axis] for axis in back))
