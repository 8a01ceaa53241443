"""grouped-queries: heads of queries that share keys and values become rows of one head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value, constant
from ...ir.evaluate import DeferredTensor
from ...ir.ops import op
from ...ir.tensor import Array, Tensor
from ..base import Context, Pass

_QUERY, _MASK, _PAST = 0, 3, 4  # operands of Attention
_BYTE = 8


@dataclass(frozen=True)
class GroupedQueries(Pass):
    """Attention of R heads of queries on the same keys and values, with R rows for each of these heads.

    softmax(q K^T) V of the R heads of a group is one product of R rows with each matrix, where the kernel reads and
    packs keys and values for each head anew. Rows must lie behind each other in memory: [batch, length, R, groups,
    size] seen as [batch, R length, groups size]. So the outputs of the projection of the queries, and the inputs of the
    projection behind, are reordered from group by group to one head of each group after the other. That is exact, and
    costs nothing at run time: rotation treats all heads alike, and rows of the mask are repeated, once for all layers.

    For Attention on [batch, length, heads size] that grows a cache, between products with constant matrices, floats or
    in blocks that end where heads do.
    """

    name: ClassVar[str] = "grouped-queries"
    settles: ClassVar[bool] = True

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any attention was changed."""
        changed = False
        for graph in model.graphs():
            masks: dict[Value, Value] = {}
            for node in list(graph.index.get(op("Attention"), ())):
                found = _grouped(node)
                if found is None or not ctx.allow(self.name, "", node):
                    continue
                created: list[Node] = []
                with ctx.rewrite(self.name, "", [node], created):
                    _rewrite(graph, found, masks, created)
                changed = True
        return changed


class _Part(NamedTuple):
    """A constant that holds a matrix, or part of it: operand `place` of a node, with the outputs along `axis`."""

    node: Node
    place: int
    axis: int

    @property
    def value(self) -> Value | None:
        return self.node.inputs[self.place]


class _Grouped(NamedTuple):
    """An attention, the constants to reorder, each with its axis of heads, and how many heads share how many others."""

    attention: Node
    parts: list[tuple[_Part, int]]
    repeats: int
    groups: int


def _grouped(node: Node) -> _Grouped | None:
    heads, groups = node.attr("q_num_heads"), node.attr("kv_num_heads")
    if not groups or not heads or heads % groups or heads == groups or node.attr("is_causal"):
        return None
    if node.input(_PAST) is None or len(node.outputs) != 3 or not _has_rows(node.input(_MASK), node):
        return None
    before, behind = _projection(node.inputs[_QUERY], heads), _next_product(node.outputs[0])
    if before is None or behind is None:
        return None
    first, last = _matrix(before[-1]), _matrix(behind)
    if first is None or last is None:
        return None
    biases = [_Part(n, i, 0) for n in before if n.op.key == "Add" for i, v in enumerate(n.inputs) if _is_constant(v)]
    parts = [*((p, p.axis) for p in (*first, *biases)), *((p, 1 - p.axis) for p in last)]
    if not all(_fits(part.value, axis, heads) for part, axis in parts):
        return None
    return _Grouped(node, parts, heads // groups, groups)


def _has_rows(mask: Value | None, node: Node) -> bool:
    """True for no mask, and for one [batch, 1, length, keys] with a row for each query."""
    queries = node.inputs[_QUERY]
    if mask is None:
        return True
    if mask.shape is None or len(mask.shape) != 4 or queries is None or queries.shape is None:
        return False
    return mask.shape[1] == 1 and mask.shape[2] == queries.shape[1]


def _projection(value: Value | None, heads: int) -> list[Node] | None:
    """The nodes that make queries, from the last to the product; None where anything else is between or reads them."""
    found: list[Node] = []
    while value is not None and value.sole_use is not None and value.producer is not None and value.rank == 3:
        node = value.producer
        found.append(node)
        if node.op.key == "MatMul":
            return found
        operands = [v for v in node.inputs if not _is_constant(v)]
        if node.op.key == "RotaryEmbedding" and node.attr("num_heads") == heads:
            value = node.inputs[0]
        elif node.op.key == "Add" and len(operands) == 1 and all(v.rank == 1 for v in node.inputs if _is_constant(v)):  # type: ignore[union-attr]
            value = operands[0]
        else:
            return None
    return None


def _next_product(value: Value) -> Node | None:
    use = value.sole_use
    return use[0] if use is not None and use[0].op.key == "MatMul" and use[1] == 0 else None


def _matrix(product: Node) -> list[_Part] | None:
    """The constants of the matrix that a product reads, where nothing else reads them."""
    part = _Part(product, 1, 1)
    if _is_constant(part.value):
        return [part] if _is_own(part) and part.value is not None and part.value.rank == 2 else None
    node = None if part.value is None or not _is_own(part) else part.value.producer
    if node is None or node.op.key != "Transpose" or node.attr("perm") != (1, 0):
        return None
    part = _Part(node, 0, 0)
    if _is_constant(part.value):
        return [part] if _is_own(part) else None
    return _blocks(part)


def _blocks(part: _Part) -> list[_Part] | None:
    """The constants of a matrix in blocks (DequantizeLinear, and perhaps a minimum of each block)."""
    found: list[_Part] = []
    while part.value is not None and _is_own(part) and part.value.producer is not None:
        node = part.value.producer
        if node.op.key == "DequantizeLinear" and node.attr("block_size") and node.attr("axis") in (1, -1):
            found += [_Part(node, index, 0) for index, value in enumerate(node.inputs) if value is not None]
            return found if all(_is_constant(each.value) and _is_own(each) for each in found) else None
        if node.op.key == "Add" and _is_constant(node.inputs[1]):
            found.append(_Part(node, 1, 0))
        elif node.op.key != "Reshape":
            return None
        part = _Part(node, 0, 0)
    return None


def _is_constant(value: Value | None) -> bool:
    return value is not None and value.const is not None


def _is_own(part: _Part) -> bool:
    return part.value is not None and part.value.sole_use is not None


def _fits(value: Value | None, axis: int, heads: int) -> bool:
    """True if the elements of a constant along an axis part into heads, each in whole bytes."""
    tensor = None if value is None else value.const
    if tensor is None or len(tensor.shape) <= axis:
        return False
    row = int(np.prod(tensor.shape[axis:])) * tensor.dtype.bits
    return tensor.shape[axis] % heads == 0 and (row // heads) % _BYTE == 0


def _rewrite(graph: Graph, found: _Grouped, masks: dict[Value, Value], created: list[Node]) -> None:
    node, repeats, groups = found.attention, found.repeats, found.groups
    for part, axis in found.parts:
        value = part.value
        assert value is not None and value.const is not None
        part.node.set_input(part.place, constant(_reordered(value.const, axis, repeats, groups), value.hint))
    queries, result, mask = node.inputs[_QUERY], node.outputs[0], node.input(_MASK)
    assert queries is not None and queries.shape is not None and result.shape is not None
    width, whole = queries.shape[2], result.shape[2]
    assert isinstance(width, int) and isinstance(whole, int)
    b = Builder(graph, node, node.loc)
    operands = list(node.inputs)
    operands[_QUERY] = b.op("Reshape", queries, b.ints([0, -1, width // repeats]))
    if mask is not None:
        if mask not in masks:
            at = Builder.behind(mask, graph)
            masks[mask] = _repeated(at, mask, repeats)
            created += at.created
        operands[_MASK] = masks[mask]
    hints = ["", node.outputs[1].hint, node.outputs[2].hint]
    made = b.node(node.op, operands, {**node.attrs, "q_num_heads": groups}, outputs=hints)
    for old, new in zip(node.outputs[1:], made.outputs[1:]):
        new.type = old.type
        old.replace_with(new)
    result.replace_with(b.node("Reshape", [made.outputs[0], b.ints([0, -1, whole])], types=[result.type]).output)
    graph.erase(node)
    created += b.created


def _repeated(b: Builder, mask: Value, repeats: int) -> Value:
    """Each row of a mask [batch, 1, length, keys] so many times."""
    rows = b.op("Expand", b.op("Unsqueeze", mask, b.ints([3])), b.ints([1, 1, 1, repeats, 1]))
    target = b.op("Concat", b.ints([0, 0, -1]), b.op("Shape", mask, start=3), axis=0)
    return b.op("Reshape", rows, target)


def _reordered(tensor: Tensor, axis: int, repeats: int, groups: int) -> Tensor:
    """A constant with heads [groups, repeats] along an axis as [repeats, groups]."""
    rows = int(np.prod(tensor.shape[:axis]))

    def turned(array: Array) -> Array:
        return np.ascontiguousarray(array.reshape(rows, groups, repeats, -1).swapaxes(1, 2))

    if tensor.dtype.bits < _BYTE:
        data = turned(np.frombuffer(tensor.data(), np.uint8))
        return Tensor(tensor.dtype, tensor.shape, data=data.reshape(-1).data)
    # Computed when the file is written, so that large weights need no memory.
    recipe = f"heads {axis} {repeats} {groups}"
    return DeferredTensor(tensor.dtype, tensor.shape, tensor, recipe, lambda array: turned(array).reshape(tensor.shape))
