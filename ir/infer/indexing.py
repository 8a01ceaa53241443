"""Operators that pick elements: Slice, the Gather family, TopK, OneHot, NonZero and their like."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core import Node
from ..dims import DimLike, ceildiv, known_ge, minimum
from ..types import F32, I32, I64, U8, Shape, tensor_type
from .base import (
    Hole,
    Result,
    at_least_zero,
    axes_in,
    axis_in,
    content_of,
    dim_at,
    dtype_at,
    fail,
    floats_of,
    ints_at,
    is_given,
    is_opaque,
    length_at,
    made,
    shape_at,
    tensor_at,
    unknown,
)

_FAR = (1 << 31) - 1  # exporters write INT32_MAX or INT64_MAX for "to the end"


def slice_(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data
    rank = len(data.shape)
    starts = node.attrs.get("starts", content_of(node.input(1)))
    ends = node.attrs.get("ends", content_of(node.input(2)))
    steps = content_of(node.input(4))
    if is_given(node, 3) or "axes" in node.attrs:
        axes = ints_at(node, 3, "axes")
        if axes is None:
            return unknown(data.dtype, rank)
    else:
        known = next((x for x in (starts, ends) if x is not None), None)
        count = length_at(node, 1) if known is None else len(known)
        if count is None or count > rank:
            return unknown(data.dtype, rank)
        axes = tuple(range(count))
    result: list[Hole] = list(data.shape)
    if any(each is not None and len(each) != len(axes) for each in (starts, ends, steps)):
        raise fail(node, f"starts, ends, axes and steps of different lengths for {len(axes)} axes")
    for i, axis in enumerate(axes_in(node, axes, rank)):
        start = starts[i] if starts is not None else None
        end = ends[i] if ends is not None else None
        step: Hole = 1
        if is_given(node, 4):
            step = steps[i] if steps is not None else None
        result[axis] = slice_size(data.shape[axis], start, end, step)
    return made(data.dtype, result)


def slice_size(dim: DimLike, start: Hole, end: Hole, step: Hole) -> Hole:
    """How many elements a slice takes; bounds are clamped as the operator does, None if unknown."""
    if start is None or end is None or not isinstance(step, int) or step == 0:
        return None
    if isinstance(dim, int) and isinstance(start, int) and isinstance(end, int):
        return len(taken(start, end, step, dim))
    if step < 0:
        last = (isinstance(start, int) and start == -1) or _is_far(start) or start is dim - 1
        if last and isinstance(end, int) and end < -_FAR:
            return ceildiv(dim, -step)
        return None
    low, high = bound(start, dim), bound(end, dim)
    if low is None or high is None:
        return None
    size = at_least_zero(high - low) if not _ordered(low, high) else high - low
    return size if step == 1 else ceildiv(size, step)


def taken(start: int, end: int, step: int, dim: int) -> range:
    """The indices that a slice takes of `dim` elements. Backwards it starts at element 0 at least, unlike Python's."""
    start, end = (at + dim if at < 0 else at for at in (start, end))
    if step > 0:
        return range(min(max(start, 0), dim), min(max(end, 0), dim), step)
    return range(min(max(start, 0), dim - 1), min(max(end, -1), dim - 1), step)


def _is_far(dim: DimLike) -> bool:
    return isinstance(dim, int) and dim >= _FAR


def bound(at: DimLike, dim: DimLike) -> Hole:
    """A slice bound clamped to 0 .. dim for a positive step; None where its sign is not known."""
    if is_opaque(at):
        return None
    if isinstance(at, int):
        if at >= _FAR:
            return dim
        if at < 0:
            return 0 if at <= -_FAR else at_least_zero(dim + at)
        return at if at == 0 else minimum(at, dim)
    if known_ge(at, 0):
        return minimum(at, dim)
    back = at - dim
    if isinstance(back, int):
        # S - 2 runs below zero where S is 1, and counts from the end then: it is 0 all the same. S - 3 need not be.
        return dim if back >= 0 else at_least_zero(at) if back >= -2 else None
    # Something like T - 1: it is a length that ran below zero only where T is 0.
    if known_ge(dim, at) and known_ge(at, -1):
        return at_least_zero(at)
    if known_ge(0, at):
        return at_least_zero(dim + at)
    return None


def _ordered(low: DimLike, high: DimLike) -> bool:
    """True if low <= high is proven, also for min(a, c) and min(b, c) with a <= b."""
    if known_ge(high, low):
        return True
    a = None if isinstance(low, int) else low.atom
    b = None if isinstance(high, int) else high.atom
    if a is None or b is None or a.name != "min" or b.name != "min":
        return False
    shared = [x for x in a.args if x in b.args]
    if len(shared) != 1:
        return False
    rest_low = [x for x in a.args if x is not shared[0]]
    rest_high = [x for x in b.args if x is not shared[0]]
    return len(rest_low) == len(rest_high) == 1 and known_ge(rest_high[0], rest_low[0])


def gather(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None:
        return None
    indices = shape_at(node, 1)
    if data.shape is None or indices is None:
        return tensor_type(data.dtype, None)
    axis = axis_in(node, node.attr("axis") or 0, len(data.shape))
    return tensor_type(data.dtype, data.shape[:axis] + indices + data.shape[axis + 1 :])


def gather_elements(node: Node) -> Result:
    dtype = dtype_at(node, 0)
    return None if dtype is None else tensor_type(dtype, shape_at(node, 1))


def gather_nd(node: Node) -> Result:
    data, indices = tensor_at(node, 0), shape_at(node, 1)
    if data is None:
        return None
    if data.shape is None or not indices or not isinstance(indices[-1], int):
        return tensor_type(data.dtype, None)
    taken = (node.attr("batch_dims") or 0) + indices[-1]
    if taken > len(data.shape):
        raise fail(node, f"indices of length {indices[-1]} for {data}")
    return tensor_type(data.dtype, indices[:-1] + data.shape[taken:])


def top_k(node: Node) -> Result:
    """Values and indices; k is an attribute before opset 10."""
    data = tensor_at(node, 0)
    if data is None:
        return None
    if data.shape is None:
        return data, tensor_type(I64, None)
    axis = axis_in(node, node.attr("axis"), len(data.shape))
    k = node.attrs.get("k")
    if k is None:
        content = content_of(node.input(1))
        k = content[0] if content else None
    size = None if k is None or is_opaque(k) else k
    if size is None:
        size = kept(node, 0, len(data.shape), axis)
    elif isinstance(size, int) and size > _most(data.shape[axis], size):
        raise fail(node, f"k={size} of {data} at axis {axis}")
    shape = (*data.shape[:axis], size, *data.shape[axis + 1 :])
    return made(data.dtype, shape), made(I64, shape)


def _most(dim: DimLike, otherwise: int) -> int:
    return dim if isinstance(dim, int) else otherwise


def kept(node: Node, index: int, rank: int, axis: int) -> DimLike:
    """An unknown dimension that several outputs share: the one output `index` has, or a fresh one."""
    from ..dims import fresh

    shape = node.outputs[index].shape
    return shape[axis] if shape is not None and len(shape) == rank else fresh()


def arg_extreme(node: Node) -> Result:
    """ArgMax, ArgMin: i64 over one reduced axis."""
    shape = shape_at(node, 0)
    if shape is None:
        return tensor_type(I64, None)
    axis = axis_in(node, node.attr("axis") or 0, len(shape))
    middle: Shape = (1,) if node.attr("keepdims") else ()
    return tensor_type(I64, shape[:axis] + middle + shape[axis + 1 :])


def one_hot(node: Node) -> Result:
    dtype, indices = dtype_at(node, 2), shape_at(node, 0)
    if dtype is None:
        return None
    if indices is None:
        return tensor_type(dtype, None)
    axis = axis_in(node, node.attr("axis"), len(indices) + 1)
    depth: Sequence[Hole] | None = content_of(node.input(1))
    if depth is None:
        floats = floats_of(node.input(1))
        depth = None if floats is None else [int(x) for x in floats]
    size = depth[0] if depth else None
    if size is not None and is_opaque(size):
        size = None
    return made(dtype, (*indices[:axis], size, *indices[axis:]))


def non_zero(node: Node) -> Result:
    shape = shape_at(node, 0)
    return made(I64, (None if shape is None else max(len(shape), 1), None))


def compress(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None:
        return None
    axis = node.attrs.get("axis")
    if axis is None:
        return unknown(data.dtype, 1)
    if data.shape is None:
        return data
    axis = axis_in(node, axis, len(data.shape))
    return made(data.dtype, (*data.shape[:axis], None, *data.shape[axis + 1 :]))


def unique(node: Node) -> Result:
    """Unique elements, first positions, inverse positions, counts."""
    data = tensor_at(node, 0)
    if data is None:
        return None
    axis = node.attrs.get("axis")
    rank = 1 if axis is None else None if data.shape is None else len(data.shape)
    if rank is None:
        return (data, *(unknown(I64, 1),) * 3)
    at = 0 if axis is None else axis_in(node, axis, rank)
    count = kept(node, 0, rank, at)
    if axis is None or data.shape is None:
        total = None if data.shape is None else _count(data.shape)
        return made(data.dtype, (count,)), made(I64, (count,)), made(I64, (total,)), made(
            I64, (count,)
        )
    first = made(data.dtype, (*data.shape[:at], count, *data.shape[at + 1 :]))
    whole = made(I64, (data.shape[at],))
    return first, made(I64, (count,)), whole, made(I64, (count,))


def _count(shape: Shape) -> DimLike:
    from ..dims import product

    return product(shape)


def eye_or_window(node: Node) -> Result:
    """HannWindow, HammingWindow, BlackmanWindow: `size` elements of the output_datatype."""
    from .elementwise import dtype_of_code

    code = node.attr("output_datatype")
    dtype = F32 if code is None else dtype_of_code(node, code)
    size = content_of(node.input(0))
    return made(dtype, (None if not size or is_opaque(size[0]) else size[0],))


def multinomial(node: Node) -> Result:
    from .elementwise import dtype_of_code

    code = node.attr("dtype")
    dtype = I32 if code is None else dtype_of_code(node, code)
    return made(dtype, (dim_at(shape_at(node, 0), 0), node.attr("sample_size") or 1))


def image_decoder(node: Node) -> Result:
    channels = 1 if node.attr("pixel_format") == "Grayscale" else 3
    return made(U8, (None, None, channels))


TABLE: dict[str, Callable[[Node], Result]] = {
    "Slice": slice_,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "TopK": top_k,
    "ArgMax": arg_extreme,
    "ArgMin": arg_extreme,
    "OneHot": one_hot,
    "NonZero": non_zero,
    "Compress": compress,
    "Unique": unique,
    "NonMaxSuppression": lambda node: made(I64, (None, 3)),
    "HannWindow": eye_or_window,
    "HammingWindow": eye_or_window,
    "BlackmanWindow": eye_or_window,
    "Multinomial": multinomial,
    "ImageDecoder": image_decoder,
}
