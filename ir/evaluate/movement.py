"""Kernels in numpy for operators that move, repeat or drop elements, or that tell a shape.

They work for every element type, strings and sub-byte types included, and raise CannotEvaluate for operands that
the operator's definition forbids.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core import Node
from ..tensor import Array
from .errors import CannotEvaluate
from .numeric import Kernel, Operands


def _ints(x: Array | None) -> list[int]:
    assert x is not None
    return [int(v) for v in x.reshape(-1).tolist()]


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise CannotEvaluate(f"axis {axis} of a tensor of rank {rank}")
    return axis + rank if axis < 0 else axis


def _distinct_axes(axes: list[int], rank: int) -> list[int]:
    found = [_axis(a, rank) for a in axes]
    if len(set(found)) != len(found):
        raise CannotEvaluate(f"axes {axes} name one axis twice")
    return found


def _shape(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    end = node.attr("end")
    return np.array(x.shape[node.attr("start") or 0 : end], dtype=np.int64)


def _size(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    return np.array(x.size, dtype=np.int64)


def reshape_target(shape: tuple[int, ...], wanted: list[int], allow_zero: bool) -> tuple[int, ...]:
    """The shape that Reshape makes of `shape`: 0 copies a dimension (unless `allow_zero`), -1 is inferred."""
    target = list(wanted)
    if not allow_zero:
        if any(d == 0 and i >= len(shape) for i, d in enumerate(target)):
            raise CannotEvaluate(f"shape {wanted} copies a dimension that {list(shape)} does not have")
        target = [shape[i] if d == 0 else d for i, d in enumerate(target)]
    if any(d < -1 for d in target) or target.count(-1) > 1:
        raise CannotEvaluate(f"{wanted} is no shape")
    count = math.prod(shape)
    if -1 in target:
        rest = math.prod(d for d in target if d != -1)
        if rest == 0 or count % rest:
            raise CannotEvaluate(f"{list(shape)} cannot take the shape {wanted}")
        target[target.index(-1)] = count // rest
    if math.prod(target) != count:
        raise CannotEvaluate(f"{list(shape)} cannot take the shape {wanted}")
    return tuple(target)


def view_shape(node: Node, shape: tuple[int, ...], operands: Operands) -> tuple[int, ...] | None:
    """The output shape of a view (Reshape, Squeeze, Unsqueeze, Flatten, Identity) of a tensor of `shape`.

    `operands` are the node's inputs; the first is not looked at. None for other operators.
    """
    key = node.op.key
    if key == "Identity":
        return shape
    if key == "Reshape":
        return reshape_target(shape, _ints(operands[1]), bool(node.attr("allowzero")))
    if key == "Flatten":
        axis = node.attr("axis")
        if not -len(shape) <= axis <= len(shape):
            raise CannotEvaluate(f"axis {axis} of a tensor of rank {len(shape)}")
        axis = axis + len(shape) if axis < 0 else axis
        return (math.prod(shape[:axis]), math.prod(shape[axis:]))
    if key == "Squeeze":
        if len(operands) < 2 or operands[1] is None:
            return tuple(d for d in shape if d != 1)
        axes = _distinct_axes(_ints(operands[1]), len(shape))
        if any(shape[a] != 1 for a in axes):
            raise CannotEvaluate(f"axes {axes} of {list(shape)} are not all of size 1")
        return tuple(d for i, d in enumerate(shape) if i not in axes)
    if key == "Unsqueeze":
        wanted = _ints(operands[1])
        axes = _distinct_axes(wanted, len(shape) + len(wanted))
        rest = iter(shape)
        return tuple(1 if i in axes else next(rest) for i in range(len(shape) + len(wanted)))
    return None


def _view(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    target = view_shape(node, tuple(x.shape), given)
    assert target is not None
    return x.reshape(target)


def _transpose(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    perm = node.attr("perm")
    if perm is not None and sorted(perm) != list(range(x.ndim)):
        raise CannotEvaluate(f"perm {list(perm)} for a tensor of rank {x.ndim}")
    return x.transpose(perm)


def _concat(node: Node, given: Operands) -> Any:
    return np.concatenate([x for x in given if x is not None], axis=node.attr("axis"))


def _split(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    axis = _axis(node.attr("axis"), x.ndim)
    lengths = split_lengths(node, x.shape[axis], given[1] if len(given) > 1 else None)
    return np.split(x, np.cumsum(lengths)[:-1], axis=axis)


def split_lengths(node: Node, size: int, given: Array | None) -> list[int]:
    """The sizes of the parts of a Split of `size` elements: those that are given, else as equal as can be."""
    parts = len(node.outputs)
    if given is not None:
        lengths = _ints(given)
    else:
        chunk = -(-size // parts)
        lengths = [min(chunk, max(size - i * chunk, 0)) for i in range(parts)]
    if sum(lengths) != size or len(lengths) != parts or min(lengths) < 0:
        raise CannotEvaluate(f"{size} elements cannot be split into {lengths}")
    return lengths


def _slice(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    starts, ends = _ints(given[1]), _ints(given[2])
    axes = _ints(given[3]) if len(given) > 3 and given[3] is not None else list(range(len(starts)))
    steps = _ints(given[4]) if len(given) > 4 and given[4] is not None else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise CannotEvaluate("starts, ends, axes and steps of Slice differ in length")
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(_distinct_axes(axes, x.ndim), starts, ends, steps):
        index[axis] = slice_bounds(start, end, step, x.shape[axis])
    return x[tuple(index)]


def slice_bounds(start: int, end: int, step: int, size: int) -> slice:
    """What Slice takes of an axis of `size` elements, as a slice of Python."""
    if step == 0:
        raise CannotEvaluate("a step of Slice is zero")
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    if step > 0:
        return slice(min(max(start, 0), size), min(max(end, 0), size), step)
    start, end = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
    if size == 0:
        return slice(0, 0, step)
    return slice(start, None if end == -1 else end, step)


def _gather(node: Node, given: Operands) -> Any:
    x, indices = given
    assert x is not None and indices is not None
    axis = _axis(node.attr("axis"), x.ndim)
    _check_indices(indices, x.shape[axis])
    return np.take(x, indices, axis=axis)


def _check_indices(indices: Array, size: int) -> None:
    if indices.size and (int(indices.min()) < -size or int(indices.max()) >= size):
        raise CannotEvaluate(f"an index is outside an axis of size {size}")


def _gather_elements(node: Node, given: Operands) -> Any:
    x, indices = given
    assert x is not None and indices is not None
    axis = _axis(node.attr("axis"), x.ndim)
    if indices.ndim != x.ndim:
        raise CannotEvaluate("data and indices of GatherElements differ in rank")
    _check_indices(indices, x.shape[axis])
    if any(a != b for i, (a, b) in enumerate(zip(x.shape, indices.shape)) if i != axis):
        return None
    return np.take_along_axis(x, indices, axis)


def _gather_nd(node: Node, given: Operands) -> Any:
    x, indices = given
    assert x is not None and indices is not None
    if node.attr("batch_dims") or indices.ndim == 0 or indices.shape[-1] > x.ndim:
        return None
    columns = np.moveaxis(indices, -1, 0)
    for axis, column in enumerate(columns):
        _check_indices(column, x.shape[axis])
    return x[tuple(columns)]


def _scatter_nd(node: Node, given: Operands) -> Any:
    x, indices, updates = given
    assert x is not None and indices is not None
    if node.attr("reduction") != "none" or indices.ndim == 0 or indices.shape[-1] > x.ndim:
        return None
    columns = np.moveaxis(indices, -1, 0)
    for axis, column in enumerate(columns):
        _check_indices(column, x.shape[axis])
    result = x.copy()
    result[tuple(columns)] = updates
    return result


def _expand(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(_ints(given[1]))))


def _tile(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    repeats = _ints(given[1])
    if len(repeats) != x.ndim or min(repeats, default=0) < 0:
        raise CannotEvaluate(f"repeats {repeats} for a tensor of rank {x.ndim}")
    return np.tile(x, repeats)


def _pad(node: Node, given: Operands) -> Any:
    x, pads = given[0], _ints(given[1])
    assert x is not None
    if node.attr("mode") != "constant" or min(pads, default=0) < 0 or x.dtype == object:
        return None
    axes = list(range(x.ndim))
    if len(given) > 3 and given[3] is not None:
        axes = _distinct_axes(_ints(given[3]), x.ndim)
    if len(pads) != 2 * len(axes):
        raise CannotEvaluate(f"{len(pads)} pads for {len(axes)} axes")
    widths = [(0, 0)] * x.ndim
    for position, axis in enumerate(axes):
        widths[axis] = (pads[position], pads[position + len(axes)])
    value = given[2] if len(given) > 2 else None
    shape = tuple(d + before + after for d, (before, after) in zip(x.shape, widths))
    result = np.zeros(shape, dtype=x.dtype)
    if value is not None:
        result[...] = value.reshape(())
    result[tuple(slice(b, b + d) for d, (b, _) in zip(x.shape, widths))] = x
    return result


def _constant_of_shape(node: Node, given: Operands) -> Any:
    shape = _ints(given[0])
    if min(shape, default=0) < 0:
        raise CannotEvaluate(f"{shape} is no shape")
    fill = node.attr("value")
    value = np.zeros((), np.float32) if fill is None else fill.array().reshape(())
    return np.broadcast_to(value, tuple(shape))


def _non_zero(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    return np.array(np.nonzero(x.reshape(x.shape or (1,))), dtype=np.int64)


def _trilu(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    if x.ndim < 2:
        raise CannotEvaluate("Trilu of a tensor of rank below 2")
    k = int(given[1].reshape(())) if len(given) > 1 and given[1] is not None else 0
    rows, columns = np.arange(x.shape[-2])[:, None], np.arange(x.shape[-1])
    keep = columns - rows >= k if node.attr("upper") else columns - rows <= k
    return np.where(keep, x, np.zeros((), x.dtype))


KERNELS: dict[str, Kernel] = {
    "Shape": _shape,
    "Size": _size,
    "Reshape": _view,
    "Squeeze": _view,
    "Unsqueeze": _view,
    "Flatten": _view,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterND": _scatter_nd,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "ConstantOfShape": _constant_of_shape,
    "NonZero": _non_zero,
    "Trilu": _trilu,
}
