"""Natives about masks of Attention that hold the lowest float, which onnxruntime's kernel takes for -inf.

A row of -inf alone gives zeros there; a row of the lowest float, the mean of the values (as softmax gives it).
"""

from __future__ import annotations

import numpy as np

from ...ir.core import Node, Value
from ...ir.rewrite import memo, native
from ...ir.types import F32
from ...passes.fuse.elements import Expr, Space, TooLarge
from ...passes.fuse.elements_walk import Elements
from ...passes.fuse.mask_forms import leaves
from ...passes.fuse.masks import FLOOR, LOWEST

_MOVES = frozenset((
    "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze",
))  # fmt: skip
_MASK = 3  # the operand of Attention
_answers = memo()


@native
def lowest_in(mask: Value) -> str | None:
    """ "finite" for an f32 mask that may hold the lowest float but not -inf, "any" for one that may hold both.

    None (no match) for one that holds neither, or that a rule has already looked after. Sums are taken to reach the
    lowest float only if one of their terms is so low.
    """
    if mask.dtype is not F32 or mask.shape is None or _is_clamped(mask):
        return None
    found: str | None = _answers[mask] if mask in _answers else _answers.keep(mask, _lowest_in(mask))
    return found


def _lowest_in(mask: Value) -> str | None:
    try:
        elements = Elements(mask)
        tree = elements.at(mask, elements.space.indices)
    except TooLarge:
        return "any"
    numbers: set[float] = set()
    for leaf in leaves(tree):
        if not _collect(leaf, elements.space, numbers):
            return "any"
    if not any(LOWEST <= number < FLOOR for number in numbers):
        return None
    return "any" if -np.inf in numbers else "finite"


def _collect(leaf: Expr, space: Space, numbers: set[float]) -> bool:
    """Add the numbers that a leaf is made of; False if there is a tensor among them that could hold any."""
    pending = [leaf]
    while pending:
        item = pending.pop()
        if item.kind == "num":
            numbers.add(float(item.args[0]))
        elif item.kind == "apply":
            pending += [arg for arg in item.args if isinstance(arg, Expr)]
        elif item.kind == "read" and not _is_moderate(space.values[item.args[0]]):
            return False
    return True


def _is_moderate(value: Value) -> bool:
    """True for integers, booleans, and what is looked up in a constant table of moderate numbers."""
    if value.dtype is None or not value.dtype.is_float:
        return True
    node, table = value.producer, value if value.const is not None else None
    if node is not None and node.op.key == "Gather":
        table = node.inputs[0]
    if table is None or table.const is None or table.dtype is not F32 or table.const.size == 0:
        return False
    return bool(np.abs(table.const.array()).max() < -FLOOR / 2)


def _is_clamped(mask: Value) -> bool:
    """True for what `Max` or `Where` of the rules has made, or what comes from one constant that a rule changes."""
    node = mask.producer
    while node is not None and node.op.key in _MOVES and node.inputs[0] is not None:
        node = node.inputs[0].producer
    if node is None:
        return False
    constants = [v for v in node.inputs if v is not None and v.const is not None and v.const.size == 1]
    if (node.op.key, len(constants)) in (("Where", 2), ("Mul", 1)) and LOWEST in map(_scalar, constants):
        return -np.inf not in map(_scalar, constants) and moves_to_masks(node.outputs[0])
    if node.op.key == "Max":
        return any(v is not None and _scalar(v) >= FLOOR * 1.01 for v in node.inputs)
    if node.op.key == "Where":
        test = node.inputs[0].producer if node.inputs[0] is not None else None
        return test is not None and test.op.key == "Equal" and any(_scalar(v) == LOWEST for v in test.inputs)
    return False


def _scalar(value: Value | None) -> float:
    const = value.const if value is not None else None
    return float(const.array().reshape(-1)[0]) if const is not None and const.size == 1 else -np.inf


@native
def moves_to_masks(value: Value) -> bool:
    """True if the elements of a value do nothing but move, and end in masks of Attention."""
    pending, seen = [value], {value}
    found = False
    while pending:
        current = pending.pop()
        for node, index in current.uses:
            if not isinstance(node, Node):
                return False
            if node.op.key == "Attention" and index == _MASK:
                found = True
            elif node.op.key in _MOVES and index == 0:
                result = node.outputs[0]
                if result not in seen:
                    seen.add(result)
                    pending.append(result)
            elif node.op.key != "Shape":
                return False
    return found
