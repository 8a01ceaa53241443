"""Arithmetic and comparisons on the leaves of element expressions.

Each function takes leaves and gives a tree, or None where it knows nothing better than the operator as it is.
Numbers are computed in the operator's own type, rounding and overflow included.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor, isfinite
from typing import Any, Final

import numpy as np

from ...ir.dims import DimLike, exact_div, floordiv, mod
from ...ir.types import BF16, BOOL, F16, F32, F64, I64, DType
from .elements import Expr, Space

_DIGITS: Final = {F16: 11, BF16: 8, F32: 24, F64: 53}
_FAR: Final = float(1 << 63)
Fold = Callable[..., "Expr | None"]


def fold(space: Space, op: str, dtype: DType, *args: Expr) -> Expr:
    """An operator applied to leaves; `dtype` is that of the result."""
    function = _FOLDS.get(op)
    made = None if function is None else function(space, dtype, *args)
    return space.apply(op, dtype, *args) if made is None else made


def dtype_of(leaf: Expr) -> DType:
    """The element type of a leaf; any integer type for sums of indices."""
    if leaf.kind == "num" or leaf.kind == "apply":
        found: DType = leaf.args[1]
    elif leaf.kind == "read":
        found = leaf.args[2]
    else:
        found = I64
    return found


def is_number(leaf: Expr) -> bool:
    """True for a leaf that is a known number."""
    return leaf.kind == "num" or (leaf.kind == "dim" and isinstance(leaf.args[0], int))


def number(space: Space, value: float, dtype: DType) -> Expr | None:
    """A number as a leaf of the type, rounded to it; None if an integer type cannot hold it."""
    if dtype is BOOL:
        return space.num(bool(value), BOOL)
    if dtype.is_float:
        with np.errstate(all="ignore"):
            rounded = float(dtype.numpy.type(value))
        return None if rounded != rounded else space.num(rounded, dtype)
    low, high = _limits(dtype)
    return space.dim(int(value)) if low <= value <= high else None


def _limits(dtype: DType) -> tuple[int, int]:
    if dtype.kind == "i":
        return -(1 << dtype.bits - 1), (1 << dtype.bits - 1) - 1
    return 0, (1 << dtype.bits) - 1


def bounds(space: Space, leaf: Expr) -> tuple[float, float] | None:
    """Least and greatest value of a leaf that is never infinite nor NaN; None if it may be."""
    if leaf.kind == "num":
        return (leaf.args[0], leaf.args[0]) if isfinite(leaf.args[0]) else None
    if leaf.kind == "dim":
        dim: DimLike = leaf.args[0]
        if isinstance(dim, int):
            return dim, dim
        return (0 if space.proves(dim) else -_FAR), _FAR
    dtype = dtype_of(leaf)
    if leaf.kind == "read":
        return None if dtype.is_float else _limits(dtype)
    op, parts = leaf.args[0], [bounds(space, a) for a in leaf.args[2:]]
    if op not in ("Cast", "Add", "Sub", "Mul") or None in parts or dtype not in _DIGITS:
        return None
    (low, high), *rest = [p for p in parts if p is not None]
    if rest:
        other = rest[0]
        if op == "Sub":
            other = -other[1], -other[0]
        ends = [a * b for a in (low, high) for b in other] if op == "Mul" else [low + other[0], high + other[1]]
        low, high = min(ends), max(ends)
    slack = max(abs(low), abs(high)) * 2.0 ** (2 - _DIGITS[dtype])
    largest = {F16: 65504.0, F64: 1e307}.get(dtype, 3e38)
    if high + slack > largest or low - slack < -largest:
        return None
    return low - slack, high + slack


def _cast(space: Space, dtype: DType, x: Expr) -> Expr | None:
    source = dtype_of(x)
    if x.kind == "num":
        value = x.args[0]
        if dtype.is_int and not (isfinite(value) and abs(value) < 1 << 31):
            return None
        return number(space, int(value) if dtype.is_int else value != 0 if dtype is BOOL else value, dtype)
    if dtype is BOOL:
        zero = number(space, 0, source)
        return None if zero is None else space.negate(compare(space, "Equal", x, zero))
    if x.kind == "dim":
        dim = x.args[0]
        if isinstance(dim, int):
            return number(space, dim, dtype)
        whole = dtype.is_int and dtype.bits >= 32
        return x if whole and (dtype.kind == "i" or space.proves(dim)) else None
    if dtype is source:
        return x
    inner = _of_cast(x)
    if inner is not None and inner.kind == "dim" and source in (F32, F64) and dtype.is_int:
        return _cast(space, dtype, inner)
    return None


def _of_cast(leaf: Expr) -> Expr | None:
    """The integer that a leaf is cast from, if it is cast to a floating-point type."""
    if leaf.kind == "apply" and leaf.args[0] == "Cast" and leaf.args[1] in _DIGITS:
        inner: Expr = leaf.args[2]
        return inner if dtype_of(inner).is_int else None
    return None


def compare(space: Space, op: str, a: Expr, b: Expr) -> Expr:
    """Equal, Less or LessOrEqual of two leaves that are not of type bool, as a condition."""
    if a.kind == "dim" and b.kind == "dim":
        x, y = a.args[0], b.args[0]
        if op == "Equal":
            return space.is_zero(x - y)
        return space.at_least_zero(y - x - (op == "Less"))
    if is_number(a) and is_number(b):
        x, y = a.args[0], b.args[0]
        holds = x == y if op == "Equal" else x < y if op == "Less" else x <= y
        return space.true if holds else space.false
    whole = dtype_of(a).is_int and dtype_of(b).is_int
    if a is b and whole:
        return space.false if op == "Less" else space.true
    if whole and op == "LessOrEqual":
        return space.negate(compare(space, "Less", b, a))
    if is_number(a) and op == "Equal":
        a, b = b, a
    if is_number(b) or is_number(a):
        forward = is_number(b)
        leaf, const = (a, b) if forward else (b, a)
        made = _far_apart(space, op, leaf, const, forward)
        made = _peeled(space, op, leaf, const, forward) if made is None else made
        if made is not None:
            return made
        if whole and not forward:  # c < x is not x < c + 1
            return space.negate(compare(space, op, leaf, space.dim(const.args[0] + 1)))
    else:
        x, y = _of_cast(a), _of_cast(b)
        if x is not None and y is not None and x.kind == y.kind == "dim" and dtype_of(a) in (F32, F64):
            return compare(space, op, x, y)
        if op == "Equal" and b.key < a.key:
            a, b = b, a
    return space.apply(op, BOOL, a, b)


def _far_apart(space: Space, op: str, leaf: Expr, const: Expr, forward: bool) -> Expr | None:
    """A comparison with a number outside the leaf's range."""
    found = bounds(space, leaf)
    if found is None:
        return None
    (low, high), number = found, const.args[0]
    if low <= number <= high:
        return None
    if op == "Equal":
        return space.false
    return space.true if (high < number) is forward else space.false


def _peeled(space: Space, op: str, leaf: Expr, const: Expr, forward: bool) -> Expr | None:
    """leaf op const (or const op leaf) said of the operand that the leaf is computed from."""

    def again(x: Expr, c: Expr | None, straight: bool = forward) -> Expr | None:
        if c is None:
            return None
        return compare(space, op, x, c) if straight else compare(space, op, c, x)

    if leaf.kind != "apply":
        return None
    name, dtype, value = leaf.args[0], leaf.args[1], const.args[0]
    inner = _of_cast(leaf)
    if inner is not None:
        if abs(value) >= 1 << (_DIGITS[dtype] - 1):
            return None
        if op == "Equal":
            return again(inner, space.dim(int(value))) if value == int(value) else space.false
        # x < 1.5 is x < 2, and 1.5 < x is 1 < x; the other way around for <=.
        up = (op == "Less") is forward
        return again(inner, space.dim(ceil(value) if up else floor(value)))
    operands = leaf.args[2:]
    if name not in ("Add", "Sub", "Mul") or not (value == 0 or (op == "Equal" and dtype.is_int)):
        return None
    first, second = operands
    known = first if is_number(first) else second if is_number(second) else None
    if known is None or not isfinite(known.args[0]):
        return None
    other, c = (second if known is first else first), known.args[0]
    if name == "Mul":
        if value != 0 or dtype.is_int or abs(c) < 1:
            return None
        return again(other, number(space, 0, dtype), forward if c > 0 else not forward)
    if name == "Add":
        return again(other, number(space, value - c, dtype))
    if known is second:
        return again(other, number(space, value + c, dtype))
    return again(other, number(space, c - value, dtype), not forward)


def _arithmetic(combine: Callable[[Any, Any], Any], name: str) -> Fold:
    def made(space: Space, dtype: DType, a: Expr, b: Expr) -> Expr | None:
        if a.kind == "num" and b.kind == "num":
            kind = dtype.numpy.type
            with np.errstate(all="ignore"):
                return number(space, combine(kind(a.args[0]), kind(b.args[0])), dtype)
        if a.kind == "dim" and b.kind == "dim":
            total = combine(a.args[0], b.args[0])
            if isinstance(total, int):
                return number(space, total, dtype)
            signed = dtype.bits >= 32 and (dtype.kind == "i" or space.proves(total))
            return space.dim(total) if signed else None
        return _neutral(space, dtype, name, a, b)

    return made


def _neutral(space: Space, dtype: DType, name: str, a: Expr, b: Expr) -> Expr | None:
    """x + 0, x * 1, x * 0, and large numbers that swallow what is added to them."""
    for known, other in ((b, a), (a, b)):
        if not is_number(known) or (known is a and name == "Sub" and known.args[0] == 0):
            continue
        c = known.args[0]
        if name in ("Add", "Sub"):
            if c == 0:
                return other
            found = bounds(space, other) if dtype in _DIGITS else None
            if found is not None and max(abs(f) for f in found) < abs(c) * 2.0 ** (-2 - _DIGITS[dtype]):
                return space.num(-c, dtype) if name == "Sub" and known is b else known
        elif c == 1:
            return other
        elif c == 0 and (dtype.is_int or bounds(space, other) is not None):
            return number(space, 0, dtype)
    if name != "Sub" and (is_number(b), b.key) > (is_number(a), a.key):
        return space.apply(name, dtype, b, a)
    return None


def _div(space: Space, dtype: DType, a: Expr, b: Expr) -> Expr | None:
    if is_number(b) and b.args[0] == 1:
        return a
    if a.kind == "num" and b.kind == "num" and b.args[0] != 0:
        kind = dtype.numpy.type
        with np.errstate(all="ignore"):
            return number(space, kind(a.args[0]) / kind(b.args[0]), dtype)
    if a.kind != "dim" or b.kind != "dim" or dtype.bits < 32:
        return None
    x, y = a.args[0], b.args[0]
    if isinstance(y, int) and y == 0:
        return None
    exact = exact_div(x, y)
    if exact is not None:
        return space.dim(exact)
    if space.proves(x) and space.proves(y):
        return space.dim(floordiv(x, y))
    return None


def _mod(space: Space, dtype: DType, a: Expr, b: Expr) -> Expr | None:
    if a.kind != "dim" or b.kind != "dim" or dtype.bits < 32:
        return None
    x, y = a.args[0], b.args[0]
    if not space.proves(x) or not space.proves(y - 1):
        return None
    return a if space.proves(y - 1 - x) else space.dim(mod(x, y))


def _neg(space: Space, dtype: DType, a: Expr) -> Expr | None:
    if a.kind == "num":
        return space.num(-a.args[0], dtype)
    return space.dim(-a.args[0]) if a.kind == "dim" and dtype.kind == "i" and dtype.bits >= 32 else None


def _abs(space: Space, dtype: DType, a: Expr) -> Expr | None:
    if a.kind == "num":
        return space.num(abs(a.args[0]), dtype)
    if a.kind != "dim" or dtype.bits < 32:
        return None
    return space.ite(space.at_least_zero(a.args[0]), a, space.dim(-a.args[0]))


def _extreme(larger: bool) -> Fold:
    def made(space: Space, dtype: DType, a: Expr, b: Expr) -> Expr | None:
        if a.kind == "num" and b.kind == "num":
            return a if (a.args[0] >= b.args[0]) is larger else b
        if a.kind == "dim" and b.kind == "dim":
            first = space.at_least_zero(a.args[0] - b.args[0])
            return space.ite(first, a, b) if larger else space.ite(first, b, a)
        return None

    return made


def _comparison(op: str, swapped: bool = False) -> Fold:
    def made(space: Space, dtype: DType, a: Expr, b: Expr) -> Expr:
        return compare(space, op, b, a) if swapped else compare(space, op, a, b)

    return made


_FOLDS: Final[dict[str, Fold]] = {
    "Cast": _cast,
    "Add": _arithmetic(lambda a, b: a + b, "Add"),
    "Sub": _arithmetic(lambda a, b: a - b, "Sub"),
    "Mul": _arithmetic(lambda a, b: a * b, "Mul"),
    "Div": _div,
    "Mod": _mod,
    "Neg": _neg,
    "Abs": _abs,
    "Max": _extreme(True),
    "Min": _extreme(False),
    "Equal": _comparison("Equal"),
    "Less": _comparison("Less"),
    "LessOrEqual": _comparison("LessOrEqual"),
    "Greater": _comparison("Less", True),
    "GreaterOrEqual": _comparison("LessOrEqual", True),
}
