"""Nodes whose result is one element repeated, from operands that are.

Such results take no room however large their shape is: weights made by ConstantOfShape, masks of one number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core import Node
from ..tensor import Tensor
from ..types import F32, STR, DType

_MAKES = frozenset({"ConstantOfShape", "Expand", "Transpose"})


def stays_splat(node: Node, inputs: Sequence[Tensor | None]) -> bool:
    """True if `repeated` may give this node's result."""
    if node.op.key in _MAKES:
        first = inputs[0] if inputs else None
        if node.op.key == "ConstantOfShape":
            return first is not None
        return first is not None and _may_repeat(first.dtype) and (first.splat is not None or first.size == 1)
    if not node.op.elementwise or len(node.outputs) != 1 or not inputs or node.output.dtype is STR:
        return False
    return any(x is not None and x.splat is not None for x in inputs) and all(
        x is not None and (x.splat is not None or x.size == 1) for x in inputs
    )


def repeated(node: Node, inputs: Sequence[Tensor | None]) -> Tensor | None:
    """The result as a splat; None where it is not one. Operands are as `stays_splat` wants them."""
    if not stays_splat(node, inputs):
        return None
    key = node.op.key
    given = [x for x in inputs if x is not None]
    first = given[0]
    if key == "ConstantOfShape":
        element = node.attrs.get("value") or Tensor.of([0.0], F32)
        if len(first.shape) != 1 or not _may_repeat(element.dtype) or min(first.ints(), default=0) < 0:
            return None
        return Tensor.of_splat(element.item(), first.ints(), element.dtype)
    if key == "Expand":
        if len(given) != 2 or not _is_shape(given[1]):
            return None
        shape = _broadcast(first.shape, given[1].ints())
        return None if shape is None else Tensor.of_splat(first.array().reshape(-1)[0], shape, first.dtype)
    if key == "Transpose":
        if first.splat is None:
            return None
        perm = node.attr("perm")
        order = tuple(reversed(range(len(first.shape)))) if perm is None else tuple(perm)
        if sorted(order) != list(range(len(first.shape))):
            return None
        return Tensor.of_splat(first.splat, tuple(first.shape[a] for a in order), first.dtype)
    return _elementwise(node, given)


def _elementwise(node: Node, given: list[Tensor]) -> Tensor | None:
    from .nodes import evaluate_node

    total: tuple[int, ...] | None = ()
    for x in given:
        total = None if total is None else _broadcast(total, x.shape)
    if total is None or 0 in total:
        return None
    ones = [
        Tensor.from_array(x.array().reshape(-1)[:1].copy().reshape((1,) * len(x.shape)), x.dtype) for x in given
    ]
    (result,) = evaluate_node(node, ones)
    if result is None or not _may_repeat(result.dtype):
        return None
    return Tensor.of_splat(result.array().reshape(-1)[0], total, result.dtype)


def _may_repeat(dtype: DType) -> bool:
    return dtype is not STR and dtype.bits >= 8


def _is_shape(tensor: Tensor) -> bool:
    return len(tensor.shape) == 1 and tensor.dtype.is_int and min(tensor.ints(), default=0) >= 0


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None
