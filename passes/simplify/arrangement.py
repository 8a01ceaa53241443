"""Natives of identity.rules, views.rules and pads.rules: axes, permutations, bounds and paddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.core import Value
from ...ir.dims import product
from ...ir.evaluate import reshaped
from ...ir.infer.base import broadcast_dim
from ...ir.rewrite import native
from ...ir.rewrite.native import memo
from ...ir.tensor import Tensor, int_tensor
from ...ir.types import BOOL, DType, TensorType

_MAX_COMPARED = 1 << 22


@native
def all_equal(c: Value, number: float) -> bool:
    """True if every element of a constant is this number; constants too large to look at are not."""
    const = c.const
    if const is None or const.size == 0 or const.dtype.kind not in "fiub":
        return False
    if const.splat is not None:
        return bool(const.splat == number)
    flat = const.array().reshape(-1)
    return bool(flat[0] == number) and const.length <= _MAX_COMPARED and bool(np.all(flat == number))


@native
def all_positive(c: Value | None) -> bool:
    """True if every element of a constant is above zero, or it is left out."""
    return c is None or (c.const is not None and all(v > 0 for v in c.const.ints()))


@native
def are_all_places(indices: Value, x: Value) -> bool:
    """True for indices i64[..., k] of ScatterND that name the places of the first k axes of x, in order."""
    const, shape = indices.const, x.shape
    if const is None or shape is None or not const.shape or not 0 < const.shape[-1] <= len(shape):
        return False
    sizes = shape[: const.shape[-1]]
    if const.shape[:-1] != sizes or const.size > _MAX_COMPARED:
        return False
    places = np.moveaxis(np.indices(const.shape[:-1]), 0, -1)
    return bool((const.array() == places).all())


@native
def as_row(c: Value) -> Tensor | None:
    """[N] of a constant [1, ..., 1, N] of several elements."""
    const = c.const
    if const is None or not const.shape or const.size != const.shape[-1] or const.size == 1:
        return None
    return reshaped(const, const.shape[-1:])


@native
def in_order(x: Value, perm: tuple[int, ...] | None) -> bool:
    """True for a permutation of x's axes that changes nothing; the default one reverses them."""
    if perm is None:
        return x.rank in (0, 1)
    return perm == tuple(range(len(perm)))


@native
def moves_units(x: Value, perm: tuple[int, ...] | None) -> bool:
    """True for a permutation that keeps the order of all axes of x that are not of length 1."""
    shape = x.shape
    if shape is None or perm is None or len(perm) != len(shape):
        return False
    moved = [axis for axis in perm if shape[axis] != 1]
    return moved == sorted(moved)


@native
def composed(x: Value, first: tuple[int, ...] | None, second: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The permutation of two transposes of x one after the other; None where neither says the rank, and x does not."""
    known = second if first is None else first
    rank = x.rank if known is None else len(known)
    if rank is None:
        return None
    backwards = tuple(reversed(range(rank)))
    one = backwards if first is None else first
    two = backwards if second is None else second
    return tuple(one[axis] for axis in two) if len(one) == len(two) else None


def _mantissa(dtype: DType) -> int:
    return {"f64": 53, "f32": 24, "f16": 11, "bf16": 8}.get(dtype.name, 0)


@native
def holds_all(outer: DType, inner: DType) -> bool:
    """True if every value of `inner` is a value of `outer`, so that casting there and on loses nothing."""
    if outer is inner:
        return True
    if inner is BOOL:
        return outer.is_int or (outer.is_float and outer.name != "f8e8m0")  # which has no zero
    if inner.is_int:
        if outer.is_int:
            wider = outer.bits > inner.bits
            return wider and (outer.kind == "i" or inner.kind == "u")
        value_bits = inner.bits - (inner.kind == "i")
        # f16 overflows at 65504, before its mantissa gives out.
        return _mantissa(outer) >= value_bits and not (outer.name == "f16" and value_bits > 11)
    if inner.name in ("f32", "f16", "bf16"):
        return outer.name == "f64" or (outer.name == "f32" and inner.name != "f32")
    return False


def _axes(value: Value, rank: int) -> list[int] | None:
    if value.const is None:
        return None
    return [a % rank for a in value.const.ints()] if rank else []


@native
def merged_unsqueeze(a: Value, b: Value) -> Tensor | None:
    """Axes of one Unsqueeze that does what two did; needs axes counted from the front."""
    if a.const is None or b.const is None:
        return None
    first, second = a.const.ints(), b.const.ints()
    if any(v < 0 for v in (*first, *second)):
        return None
    # Positions of the outer axes are final; the inner ones move to the places that those leave free.
    total = len(first) + len(second)
    free = [i for i in range(max((*first, *second), default=0) + total + 1) if i not in second]
    return int_tensor(sorted([*second, *(free[i] for i in first)]))


@native
def merged_squeeze(x: Value, a: Value, b: Value) -> Tensor | None:
    """Axes of one Squeeze of x that does what two did."""
    rank = x.rank
    if rank is None or a.const is None:
        return None
    first = _axes(a, rank)
    second = _axes(b, rank - len(a.const.ints()))
    if first is None or second is None:
        return None
    left = [i for i in range(rank) if i not in first]
    return int_tensor(sorted([*first, *(left[i] for i in second)]))


@native
def fits_empty(x: Value, v: Value, y: Value) -> bool:
    """False if one Reshape of x to y's shape works with fewer empty tensors than two views over v do.

    A -1 is worked out from the number of elements, which tells nothing beside a dimension that is 0.
    """
    source, target = x.shape, y.shape
    if source is None or target is None:
        return False
    unknown = [index for index, d in enumerate(target) if not isinstance(d, int)]
    if len(unknown) < 2 or all(index < len(source) and source[index] is target[index] for index in unknown):
        return True
    return _needs_elements(v) or _needs_elements(y)


def _needs_elements(y: Value) -> bool:
    """True for a Reshape that works out one dimension beside another one that may be 0, or gets computed ones."""
    node = y.producer
    if node is None or node.op.name != "Reshape" or node.inputs[0] is None or node.inputs[1] is None:
        return False
    target, source = node.inputs[1].const, node.inputs[0].shape
    if target is None or source is None:
        return True
    given = target.ints()
    copied = [index for index, d in enumerate(given) if d == 0]
    return -1 in given and any(index >= len(source) or not isinstance(source[index], int) for index in copied)


@native
def split_permutation(x: Value, merged: Value, perm: tuple[int, ...] | None, y: Value) -> tuple[int, ...] | None:
    """The permutation of x's axes that a Transpose of `merged`, a Reshape of x, amounts to if y splits them again.

    None unless every axis of `merged` is a run of axes of x, and y's shape is that of x with the runs moved. Axes of
    length 1 may stand anywhere.
    """
    source, between, target = x.shape, merged.shape, y.shape
    if source is None or between is None or target is None or len(source) != len(target):
        return None
    left = [axis for axis, size in enumerate(source) if size != 1]
    units = [axis for axis, size in enumerate(source) if size == 1]
    if target.count(1) != len(units):
        return None
    runs: list[list[int]] = []
    for size in between:
        run: list[int] = []
        while left and product([source[axis] for axis in run]) != size:
            run.append(left.pop(0))
        if product([source[axis] for axis in run]) != size:
            return None
        runs.append(run)
    order = perm if perm is not None else tuple(reversed(range(len(between))))
    moved = [axis for number in order for axis in runs[number]]
    if left or [source[axis] for axis in moved] != [size for size in target if size != 1]:
        return None
    return tuple(units.pop(0) if size == 1 else moved.pop(0) for size in target)


@native
def disjoint(a: Value, b: Value) -> bool:
    """True if two constant lists of axes, counted from the front, share none."""
    if a.const is None or b.const is None:
        return False
    first, second = a.const.ints(), b.const.ints()
    return all(v >= 0 for v in (*first, *second)) and not set(first) & set(second)


@native
def joined(a: Value, b: Value) -> Tensor | None:
    """Two constant lists of integers, one after the other."""
    if a.const is None or b.const is None:
        return None
    return int_tensor([*a.const.ints(), *b.const.ints()])


@native
def joined_steps(axes_a: Value, a: Value | None, axes_b: Value, b: Value | None) -> Tensor | None:
    """The steps of two Slices, one after the other; 1 where they were left out."""
    found: list[int] = []
    for axes, steps in ((axes_a, a), (axes_b, b)):
        if axes.const is None or (steps is not None and steps.const is None):
            return None
        found += steps.const.ints() if steps is not None and steps.const is not None else [1] * axes.const.size
    return int_tensor(found)


@native
def expand_target(x: Value, y: Value) -> Tensor | None:
    """The constant shape with which Expand takes x to y's shape; None where it would need a computed one."""
    source, target = x.shape, y.shape
    if source is None or target is None:
        return None
    padded = (1,) * (len(target) - len(source)) + source
    found: list[int] = []
    for own, wanted in zip(padded, target):
        if own is wanted or own == wanted:
            found.append(1)
        elif isinstance(wanted, int):
            found.append(wanted)
        else:
            return None
    return int_tensor(found)


@native
def same_broadcast(x: Value, z: Value, y: Value) -> bool:
    """True if x and z broadcast to exactly y's shape, proven dimension by dimension."""
    a, b, target = x.shape, z.shape, y.shape
    if a is None or b is None or target is None or max(len(a), len(b)) != len(target):
        return False
    a = (1,) * (len(target) - len(a)) + a
    b = (1,) * (len(target) - len(b)) + b
    for one, two, wanted in zip(a, b, target):
        found = broadcast_dim(one, two)
        if not (found is wanted or found == wanted):
            return False
    return True


@native
def const_or_absent(b: Value | None) -> bool:
    """True for a constant, and for an operand that is left out."""
    return b is None or b.const is not None


@native
def zero_or_absent(c: Value | None) -> bool:
    """True for a constant zero, and for an operand that is left out."""
    return c is None or all_equal(c, 0)


@native
def lowest(c: Value) -> bool:
    """True for minus infinity or the lowest finite number of a floating-point type."""
    const = c.const
    if const is None or not const.dtype.is_float or const.size != 1:
        return False
    if const.dtype.numpy.kind == "f":
        return bool(const.array().reshape(-1)[0] <= np.finfo(const.dtype.numpy).min)
    return bool(np.isneginf(const.array().astype(np.float64)).all())


@native
def counts_pads(y: Value) -> bool:
    """True if an AveragePool counts padding as elements, or pads nothing itself."""
    node = y.producer
    assert node is not None
    return bool(node.attr("count_include_pad")) or not any(node.attr("pads") or ())


@native
def joined_pads(pads: Value, axes: Value | None, y: Value) -> tuple[int, ...] | None:
    """A Pad's amounts plus the pads of the operator that made y; None unless all are on spatial axes and >= 0."""
    node = y.producer
    rank = y.rank
    if node is None or rank is None or pads.const is None or (axes is not None and axes.const is None):
        return None
    amounts = pads.const.ints()
    along = [a % rank for a in axes.const.ints()] if axes is not None and axes.const is not None else list(range(rank))
    before, after = [0] * rank, [0] * rank
    for index, axis in enumerate(along):
        before[axis], after[axis] = amounts[index], amounts[index + len(along)]
    if any(before[:2]) or any(after[:2]) or min(*before, *after) < 0 or rank < 3:
        return None
    own: Any = node.attr("pads")
    if own is None or node.attr("auto_pad") == "VALID":
        own = (0,) * (2 * (rank - 2))
    return tuple(a + b for a, b in zip((*before[2:], *after[2:]), own))


@native
def pool_pads(pads: Value, axes: Value | None, y: Value) -> tuple[int, ...] | None:
    """joined_pads of a pooling operator, whose pads must be smaller than its kernel."""
    joined = joined_pads(pads, axes, y)
    kernel: Any = y.producer.attr("kernel_shape") if y.producer is not None else None
    if joined is None or kernel is None or any(pad >= size for pad, size in zip(joined, (*kernel, *kernel))):
        return None
    return joined


@native
def rows(x: Value) -> Tensor | None:
    """The shape of x as a matrix whose columns are its last axis."""
    shape = x.shape
    if not shape or not all(isinstance(d, int) and d > 0 for d in shape):
        return None
    count = 1
    for d in shape[:-1]:
        count *= int(d)  # type: ignore[arg-type]
    return int_tensor([count, int(shape[-1])])  # type: ignore[arg-type]


@native
def static_shape(y: Value) -> Tensor | None:
    """The shape of y as a constant; None where it is not known, or holds a zero."""
    shape = y.shape
    if shape is None or not all(isinstance(d, int) and d > 0 for d in shape):
        return None
    return int_tensor([int(d) for d in shape])  # type: ignore[arg-type]


@native
def several(x: Value) -> bool:
    """True for a value with several users, or one that a Reshape made: another Reshape of it costs nothing."""
    return len(x.users) > 1 or (x.producer is not None and x.producer.op.name == "Reshape")


_KEEP_SHAPE = frozenset((
    "Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Tanh", "Sigmoid", "Relu", "Cast", "Softmax",
    "Add", "Mul", "Sub", "Div", "Where",
))  # fmt: skip
_same_shape = memo()


@native
def operand_of_same_shape(value: Value) -> Value | None:
    """The earliest value, upwards through operators that may keep a shape, whose shape is proven to be the same."""
    way: list[Value] = []
    at = value
    while True:
        known = _same_shape.get(at)
        if known is not None and (known.producer is None or known.producer.graph is not None):
            at = known
            break
        above = _operand_like(at)
        if above is None:
            break
        way.append(at)
        at = above
    for passed in way:
        _same_shape.keep(passed, at)
    return at if way or at is not value else None


def _operand_like(value: Value) -> Value | None:
    node = value.producer
    if node is None or node.op.domain or node.op.name not in _KEEP_SHAPE or not isinstance(value.type, TensorType):
        return None
    shape = value.type.shape
    if shape is None:
        return None
    for operand in node.inputs:
        if operand is not None and operand.const is None and operand.shape == shape:
            return operand
    return None
