"""When two nodes compute the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir.attributes import SparseTensor
from ...ir.core import Node, Value
from ...ir.tensor import Tensor
from .purity import is_deterministic

Key = tuple[Any, ...]


def same_result_key(node: Node, identity: Callable[[Value | None], int] = id) -> Key | None:
    """Equal for nodes that give the same results: same operator and attributes, identical operands.

    `identity` numbers the operands; those of commutative operators may be in any order. None for nodes of which
    two runs may differ, or that have regions or sparse attributes.
    """
    if not is_deterministic(node):
        return None
    operands: tuple[int, ...] = tuple(map(identity, node.inputs))
    if node.op.commutative and len(operands) > 1:
        operands = tuple(sorted(operands))
    if not node.attrs:
        return (node.op, len(node.outputs), operands)
    attrs: list[Any] = []
    for name in sorted(node.attrs):
        value = node.attrs[name]
        if isinstance(value, SparseTensor):
            return None
        if isinstance(value, Tensor):
            value = value.digest()
        elif isinstance(value, tuple) and any(isinstance(v, (Tensor, SparseTensor)) for v in value):
            return None
        # 1 == 1.0 == True, and 0.0 == -0.0: the type and the spelling tell them apart.
        attrs.append((name, type(value), repr(value) if isinstance(value, (float, tuple)) else value))
    return (node.op, len(node.outputs), operands, tuple(attrs))
