"""Small integer tensors followed as tuples of dimensions, so that computed shapes become known.

Each function gives the elements of its node's first output, None for an element that is not known
(a list of such tuples for several outputs), or None when nothing is known. Float tensors that hold
whole numbers are followed as well: resizing code goes through them. That takes sizes to be below
2**24, where float32 is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core import Content, Node
from ..dims import (
    DimLike,
    ceildiv,
    exact_div,
    floordiv,
    known_ge,
    maximum,
    minimum,
    mod,
    product,
)
from ..tensor import Tensor
from ..types import BOOL, BY_ONNX, TensorType
from .base import (
    MAX_ELEMENTS,
    Hole,
    at_least_zero,
    axes_in,
    axis_in,
    content_of,
    ints_at,
    is_given,
    length_at,
    shape_at,
    tensor_at,
)
from .fractions import Elements, Follow, fractions_of, numbers, rounded
from .indexing import taken

ANY_RANK = frozenset(["Cast", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"])
"""Operators through which matrices are followed too: exporters permute the pads of Pad as one."""


def _shape(node: Node) -> Elements:
    shape = shape_at(node, 0)
    if shape is None:
        return None
    return shape[node.attr("start") or 0 : node.attrs.get("end")]


def _size(node: Node) -> Elements:
    shape = shape_at(node, 0)
    return None if shape is None else (product(shape),)


def _pass(node: Node) -> Elements:
    return numbers(node.inputs[0])


def _array(node: Node, index: int) -> Any:
    """A known operand as a numpy array of dimensions; None where its shape is not known."""
    value = node.inputs[index]
    content, type = content_of(value), tensor_at(node, index)
    if content is None or type is None or type.static_shape is None:
        return None
    array = np.empty(len(content), dtype=object)
    array[:] = content
    return array.reshape(type.static_shape)


def _flat(array: Any) -> Elements:
    return tuple(array.reshape(-1).tolist())


def _gather(node: Node) -> Elements:
    indices = ints_at(node, 1)
    if indices is None:
        return None
    rank = len(shape_at(node, 0) or ())
    if rank == 1:
        data = content_of(node.inputs[0])
        if data is None:
            return None
        return tuple([data[axis_in(node, index, len(data))] for index in indices])
    array = _array(node, 0)
    if array is None:
        return None
    axis = axis_in(node, node.attr("axis"), rank)
    return _flat(array.take([axis_in(node, i, array.shape[axis]) for i in indices], axis))


def _slice(node: Node) -> Elements:
    array = _array(node, 0)
    starts, ends = ints_at(node, 1, "starts"), ints_at(node, 2, "ends")
    if array is None or starts is None or ends is None:
        return None
    steps = ints_at(node, 4) if is_given(node, 4) else (1,) * len(starts)
    axes: Sequence[int] | None = ints_at(node, 3, "axes")
    if axes is None and not is_given(node, 3):
        axes = range(len(starts))
    if axes is None or steps is None or 0 in steps:
        return None
    for axis, start, end, step in zip(axes_in(node, axes, array.ndim), starts, ends, steps):
        array = array.take(np.array(taken(start, end, step, array.shape[axis]), np.int64), axis)
    return _flat(array)


def _transpose(node: Node) -> Elements:
    array = _array(node, 0)
    return None if array is None else _flat(array.transpose(node.attrs.get("perm")))


def _concat(node: Node) -> Elements:
    result: list[Hole] = []
    for index, value in enumerate(node.inputs):
        piece = content_of(value)
        if piece is None:
            length = length_at(node, index)
            if length is None or length > MAX_ELEMENTS:
                return None
            result.extend([None] * length)
        else:
            result.extend(piece)
    return _unless_empty(result)


def _unless_empty(elements: Sequence[Hole]) -> Elements:
    if len(elements) > MAX_ELEMENTS or (elements and all(e is None for e in elements)):
        return None
    return tuple(elements)


def _split(node: Node) -> list[Elements] | None:
    data = content_of(node.input(0))
    if data is None:
        return None
    result: list[Elements] = []
    at = 0
    for value in node.outputs:
        shape = value.shape
        if not shape or not isinstance(shape[0], int):
            return None
        result.append(data[at : at + shape[0]])
        at += shape[0]
    return result


def _pairwise(combine: Callable[[DimLike, DimLike], Hole]) -> Follow:
    def follow(node: Node) -> Elements:
        a = numbers(node.inputs[0])
        if a is None:
            return None
        for value in node.inputs[1:]:
            b = numbers(value)
            if b is None:
                return None
            if len(a) != len(b):
                if len(b) == 1:
                    b = b * len(a)
                elif len(a) == 1:
                    a = a * len(b)
                else:
                    return None
            combined = [combine(x, y) for x, y in zip(a, b)]
            if None in combined:
                return _unless_empty(combined) if len(node.inputs) == 2 else None
            a = tuple(combined)  # type: ignore[arg-type]
        return a

    return follow


def _truncated(a: DimLike, b: DimLike) -> Hole:
    """a / b rounded towards zero, as integer Div does."""
    if isinstance(a, int) and isinstance(b, int):
        if b == 0:
            return None
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    if isinstance(b, int) and b == 0:
        return None
    exact = exact_div(a, b)
    if exact is not None:
        return exact
    return floordiv(a, b) if known_ge(a, 0) and known_ge(b, 0) else None


_integer_div = _pairwise(_truncated)
_exact_float_div = _pairwise(exact_div)


def _div(node: Node) -> Elements | list[Elements]:
    return (_exact_float_div if _is_float(node) else _integer_div)(node)


def _is_float(node: Node) -> bool:
    type = node.outputs[0].type
    return isinstance(type, TensorType) and type.dtype.is_float


def _remainder(a: DimLike, b: DimLike) -> Hole:
    if (isinstance(b, int) and b <= 0) or not known_ge(a, 0):
        return None  # the sign of the result depends on fmod
    return mod(a, b) if known_ge(b, 0) else None


def _equal(a: DimLike, b: DimLike) -> Hole:
    if a is b or a == b:
        return 1
    return 0 if known_ge(a, b + 1) or known_ge(b, a + 1) else None


def _greater(a: DimLike, b: DimLike) -> Hole:
    return 1 if known_ge(a, b + 1) else 0 if known_ge(b, a) else None


def _greater_or_equal(a: DimLike, b: DimLike) -> Hole:
    return 1 if known_ge(a, b) else 0 if known_ge(b, a + 1) else None


def _power(a: DimLike, b: DimLike) -> Hole:
    if not isinstance(b, int) or not 0 <= b <= 4:
        return None
    return product([a] * b)


def _and(a: DimLike, b: DimLike) -> Hole:
    return a * b


def _or(a: DimLike, b: DimLike) -> Hole:
    return maximum(a, b)


def _each(change: Callable[[DimLike], Hole]) -> Follow:
    def follow(node: Node) -> Elements:
        data = numbers(node.inputs[0])
        return None if data is None else _unless_empty([change(d) for d in data])

    return follow


def _absolute(d: DimLike) -> Hole:
    return abs(d) if isinstance(d, int) else d if known_ge(d, 0) else None


def _truth(d: Hole) -> Hole:
    if isinstance(d, int):
        return int(d != 0)
    return 1 if d is not None and known_ge(d, 1) else None


def _cast(node: Node) -> Elements:
    value, dtype = node.inputs[0], BY_ONNX.get(node.attrs.get("to", 0))
    if value is None or dtype is None:
        return None
    data = numbers(value)
    if dtype is BOOL:
        if data is None:
            return None
        return _unless_empty([_truth(d) for d in data])
    if dtype.is_float:
        return data if dtype.bits >= 32 else None
    if not dtype.is_int or dtype.bits < 32:
        return None
    if data is None:
        found = fractions_of(value)
        if found is None or not all(known_ge(a, 0) for a, _ in found):
            return None
        return tuple([floordiv(a, b) for a, b in found])
    return data


def _where(node: Node) -> Elements:
    parts = [content_of(value) for value in node.inputs]
    if parts[1] is None and parts[2] is None:
        return None
    lengths = [len(p) for p in parts if p is not None]
    count = 0 if 0 in lengths else max(lengths)
    result: list[Hole] = []
    for index in range(count):
        c, x, y = (None if p is None else p[index if len(p) > 1 else 0] for p in parts)
        if isinstance(c, int):
            result.append(x if c else y)
        else:
            result.append(x if x is y else None)
    shapes = [shape_at(node, i) for i in range(3)]
    if any(s is None or (s and s[0] not in (1, count)) for s in shapes):
        return None  # an operand of unknown length may be longer than the known ones
    return _unless_empty(result)


def _constant_of_shape(node: Node) -> Elements:
    shape = ints_at(node, 0)
    value = node.attrs.get("value")
    if shape is None or not isinstance(value, Tensor) or not value.dtype.is_int:
        return None
    count = product(shape)
    if not isinstance(count, int) or not 0 <= count <= MAX_ELEMENTS:
        return None
    return value.ints()[:1] * count


def _range(node: Node) -> Elements:
    bounds = [ints_at(node, i) for i in range(3)]
    if _is_float(node) or not all(b is not None and len(b) == 1 for b in bounds):
        return None
    start, limit, delta = [b[0] for b in bounds if b]
    if delta == 0 or len(range(start, limit, delta)) > MAX_ELEMENTS:
        return None
    return tuple(range(start, limit, delta))


def _reduced(combine: Callable[[Content], DimLike]) -> Follow:
    def follow(node: Node) -> Elements:
        data = numbers(node.input(0))
        if not data or len(shape_at(node, 0) or ()) > 1:
            return None
        axes = ints_at(node, 1, "axes")
        if (axes is None and is_given(node, 1)) or (not axes and node.attr("noop_with_empty_axes")):
            return None
        return (combine(data),)

    return follow


def _largest(data: Content) -> DimLike:
    result = data[0]
    for d in data[1:]:
        result = maximum(result, d)
    return result


def _smallest(data: Content) -> DimLike:
    result = data[0]
    for d in data[1:]:
        result = minimum(result, d)
    return result


def _total(data: Content) -> DimLike:
    result: DimLike = 0
    for d in data:
        result = result + d
    return result


def _repeated(node: Node) -> Elements:
    """Expand and Tile: the pattern again and again, as long as the output is."""
    data = numbers(node.inputs[0])
    shape = node.outputs[0].shape
    if not data or shape is None:
        return None
    count = product(shape)
    if not isinstance(count, int) or count > MAX_ELEMENTS or count % len(data):
        return None
    return data * (count // len(data))


TABLE: dict[str, Follow] = {
    "Shape": _shape,
    "Size": _size,
    **dict.fromkeys(["Identity", "Squeeze", "Unsqueeze", "Reshape"], _pass),
    "Transpose": _transpose,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Split": _split,
    "Add": _pairwise(lambda a, b: a + b),
    "Sub": _pairwise(lambda a, b: a + b * -1),
    "Mul": _pairwise(lambda a, b: a * b),
    "Sum": _pairwise(lambda a, b: a + b),
    "Div": _div,
    "Mod": _pairwise(_remainder),
    "Min": _pairwise(minimum),
    "Max": _pairwise(maximum),
    "Pow": _pairwise(_power),
    "Equal": _pairwise(_equal),
    "Greater": _pairwise(_greater),
    "GreaterOrEqual": _pairwise(_greater_or_equal),
    "Less": _pairwise(lambda a, b: _greater(b, a)),
    "LessOrEqual": _pairwise(lambda a, b: _greater_or_equal(b, a)),
    "And": _pairwise(_and),
    "Or": _pairwise(_or),
    "Not": _each(lambda d: 1 + d * -1),
    "Neg": _each(lambda d: d * -1),
    "Abs": _each(_absolute),
    "Relu": _each(at_least_zero),
    "Floor": rounded(floordiv),
    "Ceil": rounded(ceildiv),
    "Cast": _cast,
    "Where": _where,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "ReduceProd": _reduced(product),
    "ReduceSum": _reduced(_total),
    "ReduceMax": _reduced(_largest),
    "ReduceMin": _reduced(_smallest),
    "Expand": _repeated,
    "Tile": _repeated,
}
