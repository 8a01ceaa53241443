"""Whole numbers and exact fractions in small tensors: scaled sizes before they are rounded."""

from __future__ import annotations

from collections.abc import Callable

from ..core import Content, Node, Value
from ..dims import DimLike
from .base import MAX_ELEMENTS, Hole, content_of

Elements = tuple[Hole, ...] | None
Follow = Callable[[Node], Elements | list[Elements]]

_LARGEST_DENOMINATOR = 1 << 12


def numbers(value: Value | None) -> Content | None:
    """`content_of`, for constants of whole floats too."""
    found = content_of(value)
    if found is None and value is not None and value.const is not None:
        tensor = value.const
        if tensor.dtype.is_float and len(tensor.shape) < 2 and tensor.size <= MAX_ELEMENTS:
            elements = [float(x) for x in tensor.array().reshape(-1)]
            if all(x.is_integer() for x in elements):
                return tuple([int(x) for x in elements])
    return found


Fraction = tuple[DimLike, int]


def fractions_of(value: Value | None, depth: int = 0) -> list[Fraction] | None:
    """The elements of a float tensor as exact fractions, through products with constants."""
    whole = numbers(value)
    if whole is not None:
        return [(d, 1) for d in whole]
    if value is None or depth > 4:
        return None
    if value.const is not None:
        if value.const.size > MAX_ELEMENTS or not value.const.dtype.is_float:
            return None
        ratios = [float(x) for x in value.const.array().reshape(-1)]
        if not all(abs(x) < 1e9 for x in ratios):
            return None
        found: list[Fraction] = [x.as_integer_ratio() for x in ratios]
        return found if all(b <= _LARGEST_DENOMINATOR for _, b in found) else None
    node = value.producer
    if node is None or node.op.domain or value.dtype is None or not value.dtype.is_float:
        return None
    if node.op.name in ("Unsqueeze", "Squeeze", "Identity", "Cast"):
        return fractions_of(node.inputs[0], depth + 1)
    if node.op.name not in ("Mul", "Div"):
        return None
    left, right = (fractions_of(v, depth + 1) for v in node.inputs)
    if left is None or right is None or len(left) != len(right):
        return None
    result: list[Fraction] = []
    for (a, b), (c, d) in zip(left, right):
        if node.op.name == "Mul":
            result.append((a * c, b * d))
        elif isinstance(c, int) and c:
            result.append((a * d * (1 if c > 0 else -1), b * abs(c)))
        else:
            return None
    return result


def rounded(round_: Callable[[DimLike, int], DimLike]) -> Follow:
    """The function for Floor (`floordiv`) or Ceil (`ceildiv`)."""
    def follow(node: Node) -> Elements:
        found = fractions_of(node.inputs[0])
        return None if found is None else tuple([round_(a, b) for a, b in found])

    return follow


