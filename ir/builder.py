"""The one way to create nodes: a `Builder` inserts them at a point and infers their types at once.

    b = Builder(graph, before=node, loc=node.loc)
    y = b.op("Add", x, b.const(1.0, like=x))
    values, indices = b.node("TopK", [x, k], {"axis": -1}, outputs=2).outputs
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .core import Graph, Node, Value, constant
from .errors import InvalidModel
from .ops import Op
from .ops import op as op_by_key
from .tensor import Tensor
from .types import DType, TensorType, Type, merge

_F32 = struct.Struct("<f")


def float32(value: float) -> float:
    """`value` rounded to float32, the precision that ONNX's float attributes have."""
    try:
        return float(_F32.unpack(_F32.pack(value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


class Builder:
    """Creates nodes in `graph`, before `before` (None: at the end), all with source locations `loc`."""

    __slots__ = ("graph", "before", "loc", "created")

    def __init__(self, graph: Graph, before: Node | None = None, loc: tuple[str, ...] = ()) -> None:
        self.graph = graph
        self.before = before
        self.loc = loc
        self.created: list[Node] = []

    @classmethod
    def behind(cls, value: Value, graph: Graph) -> Builder:
        """Inserts right behind what makes a value, with its locations; at the start of `graph` where no node does."""
        maker = value.producer
        return cls(graph, graph.first) if maker is None else cls(graph, maker.next, maker.loc)

    def node(
        self,
        op: Op | str,
        inputs: Iterable[Value | None],
        attrs: dict[str, Any] | None = None,
        *,
        outputs: int | Sequence[str] = 1,
        regions: dict[str, Graph] | None = None,
        types: Sequence[Type | None] | None = None,
    ) -> Node:
        """Create and insert a node.

        `outputs` is a count or hints for the names; `types` are merged with the inferred ones.
        Attributes equal to the schema's default are dropped. Raises InvalidModel when the op's inference
        proves that the operands cannot fit.
        """
        from .infer import infer_node

        if isinstance(op, str):
            op = op_by_key(op)
        operands = list(inputs)
        while operands and operands[-1] is None:
            operands.pop()
        hints = [""] * outputs if isinstance(outputs, int) else list(outputs)
        results = [Value(None, hint) for hint in hints]
        node = Node(op, operands, results, normalize_attrs(op, attrs), regions, self.loc)
        self.graph.insert(node, self.before)
        try:
            infer_node(node)
        except InvalidModel:
            self.graph.erase(node)
            raise
        if types is not None:
            for value, declared in zip(results, types):
                value.type = merge(value.type, declared)
        self.created.append(node)
        return node

    def op(self, op: Op | str, *inputs: Value | None, **attrs: Any) -> Value:
        """Create a node with one output and return that output."""
        return self.node(op, inputs, attrs).output

    def const(
        self, value: Any, dtype: DType | None = None, *, like: Value | None = None, hint: str = ""
    ) -> Value:
        """A constant from a number, list, array or `Tensor`; `like` gives the dtype of a value."""
        if isinstance(value, Tensor):
            return constant(value, hint)
        if dtype is None and like is not None and isinstance(like.type, TensorType):
            dtype = like.type.dtype
        if dtype is not None and not isinstance(value, np.ndarray):
            return constant(Tensor.of(value, dtype), hint)
        return constant(Tensor.from_array(value, dtype), hint)

    def ints(self, values: Iterable[int], hint: str = "") -> Value:
        """A 1-D i64 constant."""
        from .types import I64

        return constant(Tensor.of(list(values), I64), hint)


def normalize_attrs(op: Op, attrs: dict[str, Any] | None) -> dict[str, Any]:
    """Attributes as the IR keeps them: lists as tuples, floats in float32, defaults and None dropped."""
    if not attrs:
        return {}
    result: dict[str, Any] = {}
    for name, value in attrs.items():
        if value is None:
            continue
        kind = op.attr_kind(name)
        if kind == "float" and isinstance(value, (int, float)):
            value = float32(value)
        elif kind == "floats" and isinstance(value, (list, tuple)):
            value = tuple(float32(v) for v in value)
        elif isinstance(value, list):
            value = tuple(value)
        elif kind == "int" and isinstance(value, (bool, np.integer)):
            value = int(value)
        if value != op.attr_default(name):
            result[name] = value
    return result
