"""Natives about masks of Attention that hold the lowest float, which onnxruntime's kernel takes for -inf.

A row in which nothing is greater gives zeros there. By the operator, one of the lowest float gives the mean of the
values, as softmax gives it, and beside -inf the lowest float takes all the weight.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ...ir.core import Node, Value
from ...ir.rewrite import ABSENT, memo, native
from ...ir.types import F16, F32, DType
from ...passes.fuse.elements import Expr, Space, TooLarge
from ...passes.fuse.elements_walk import Elements
from ...passes.fuse.mask_forms import leaves

_MOVES = frozenset((
    "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze",
))  # fmt: skip
# The lowest number of each type that the kernel takes, and the next one: a score that is added leaves both as they are.
_NUMBERS: Final[dict[DType, tuple[float, float]]] = {
    F32: (-3.4028234663852886e38, -3.4028232635611926e38),
    F16: (-65504.0, -65472.0),
}
_answers = memo()


@native
def above_lowest(mask: Value) -> float | None:
    """The number to put for the lowest one in a mask that may hold it; None for a mask that does not."""
    found = _lowest_in(mask)
    return None if found is None or mask.dtype is None else _NUMBERS[mask.dtype][1]


@native
def lowest_beside_infinity(mask: Value) -> Any:
    """The lowest number of a mask's type where the mask may hold -inf as well; absent where it may not."""
    return _NUMBERS[mask.dtype][0] if mask.dtype is not None and _lowest_in(mask) == "any" else ABSENT


@native
def is_finite(mask: Value | None) -> bool:
    """True for no mask, and for one of finite numbers, which hides no row as a whole."""
    if mask is None:
        return True
    if mask.dtype not in _NUMBERS or mask.shape is None:
        return False
    maker = _unmoved(mask)
    if maker is not None and maker.op.key == "Max" and any(_number(v) > -np.inf for v in maker.inputs):
        return True
    try:
        elements = Elements(mask)
        tree = elements.at(mask, elements.space.indices)
    except TooLarge:
        return False
    numbers: set[float] = set()
    lowest = _NUMBERS[mask.dtype][0]
    return all(_collect(leaf, elements.space, lowest, numbers) for leaf in leaves(tree)) and -np.inf not in numbers


def _lowest_in(mask: Value) -> str | None:
    """ "finite" for a mask that may hold the lowest float but not -inf, "any" for one that may hold both, or None.

    Integers that a mask is computed from are taken for 0 and 1, and sums to reach the lowest float only if one of their
    terms is so low.
    """
    if mask.dtype not in _NUMBERS or mask.shape is None or _is_cured(mask, *_NUMBERS[mask.dtype]):
        return None
    found: str | None = _answers[mask] if mask in _answers else _answers.keep(mask, _analysed(mask))
    return found


def _analysed(mask: Value) -> str | None:
    assert mask.dtype is not None
    lowest = _NUMBERS[mask.dtype][0]
    try:
        elements = Elements(mask)
        tree = elements.at(mask, elements.space.indices)
    except TooLarge:
        return "any"
    numbers: set[float] = set()
    for leaf in leaves(tree):
        if not _collect(leaf, elements.space, lowest, numbers):
            return "any"
    if lowest not in numbers:
        return None
    return "any" if -np.inf in numbers else "finite"


def _collect(leaf: Expr, space: Space, lowest: float, numbers: set[float]) -> bool:
    """Add the numbers that a leaf is made of; False if -inf can come of them, or a tensor among them can hold any."""
    pending = [leaf]
    low = 0
    while pending:
        item = pending.pop()
        if item.kind == "num":
            number = float(item.args[0])
            numbers.add(number)
            low += number <= lowest / 2
        elif item.kind == "apply":
            pending += [arg for arg in item.args if isinstance(arg, Expr)]
        elif item.kind == "read" and not _is_moderate(space.values[item.args[0]], lowest):
            return False
    return low < 2


def _is_moderate(value: Value, lowest: float) -> bool:
    """True for integers, booleans, and what is looked up in a constant table of moderate numbers."""
    if value.dtype is None or not value.dtype.is_float:
        return True
    node, table = value.producer, value if value.const is not None else None
    if node is not None and node.op.key == "Gather":
        table = node.inputs[0]
    if table is None or table.const is None or table.dtype not in _NUMBERS or table.const.size == 0:
        return False
    return bool(np.abs(table.const.array()).max() < -lowest / 2)


def _unmoved(mask: Value) -> Node | None:
    """What computes the elements of a mask, behind all that only moves them."""
    node = mask.producer
    while node is not None and node.op.key in _MOVES and node.inputs[0] is not None:
        node = node.inputs[0].producer
    return node


def _is_cured(mask: Value, lowest: float, above: float) -> bool:
    """True for what the rules have made, and what only moves its elements."""
    node = _unmoved(mask)
    if node is None:
        return False
    if node.op.key == "Max":
        return any(_number(v) >= above for v in node.inputs)
    if node.op.key == "Where":
        test = node.inputs[0].producer if node.inputs[0] is not None else None
        return test is not None and test.op.key == "Equal" and any(_number(v) == lowest for v in test.inputs)
    return False


def _number(value: Value | None) -> float:
    """The element of a constant of one; -inf for everything else."""
    const = value.const if value is not None else None
    return float(const.array().reshape(-1)[0]) if const is not None and const.size == 1 else -np.inf
