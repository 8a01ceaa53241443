"""Operators that move, repeat, drop or pick elements. Sizes are read as numbers, so any shape may come."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ....ir.evaluate.movement import slice_bounds, split_lengths, view_shape
from ..dtypes import torch_dtype
from .base import Given, Lacking, Operator, at, axis_of, ints


def _view(node: Any, given: Given) -> Any:
    shape = view_shape(node, tuple(given[0].shape), [None, *given[1:]])
    assert shape is not None
    return given[0].reshape(shape)


def _transpose(node: Any, given: Given) -> Any:
    perm = node.attr("perm")
    return given[0].permute(tuple(reversed(range(given[0].dim()))) if perm is None else tuple(perm))


def _concat(node: Any, given: Given) -> Any:
    return torch.cat(list(given), node.attr("axis"))


def _split(node: Any, given: Given) -> Any:
    x, axis = given[0], node.attr("axis")
    return list(torch.split(x, split_lengths(node, x.shape[axis], at(given, 1)), axis))


def _slice(node: Any, given: Given) -> Any:
    x, starts, ends = given[0], ints(given, 1), ints(given, 2)
    assert starts is not None and ends is not None
    axes, steps = ints(given, 3) or list(range(len(starts))), ints(given, 4) or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps):
        bounds = slice_bounds(start, end, step, x.shape[axis])
        if step > 0:
            x = x[(*[slice(None)] * axis_of(axis, x.dim()), bounds)]
        else:  # torch takes no steps backwards
            places = list(range(x.shape[axis]))[bounds]
            x = torch.index_select(x, axis, torch.tensor(places, dtype=torch.int64))
    return x


def _wrapped(indices: Any, size: int) -> Any:
    """Indices from the end as indices from the start."""
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)


def _gather(node: Any, given: Given) -> Any:
    x, indices = given
    axis = axis_of(node.attr("axis"), x.dim())
    picked = torch.index_select(x, axis, _wrapped(indices, x.shape[axis]).reshape(-1))
    return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _gather_elements(node: Any, given: Given) -> Any:
    x, indices = given
    axis = node.attr("axis")
    return torch.gather(x, axis, _wrapped(indices, x.shape[axis]))


def _columns(indices: Any, shape: tuple[int, ...], batch: int = 0) -> tuple[Any, ...]:
    """The last axis of `indices` as one tensor for each axis of the data, behind those of the batch."""
    picked = tuple(_wrapped(column, shape[batch + i]) for i, column in enumerate(indices.unbind(-1)))
    rank = indices.dim() - 1
    grid = [torch.arange(shape[i]).reshape([-1 if k == i else 1 for k in range(rank)]) for i in range(batch)]
    return (*grid, *picked)


def _gather_nd(node: Any, given: Given) -> Any:
    x, indices = given
    return x[_columns(indices, tuple(x.shape), node.attr("batch_dims"))]


def _scatter_nd(node: Any, given: Given) -> Any:
    x, indices, updates = given
    kind = node.attr("reduction")
    if kind not in ("none", "add"):
        raise Lacking(f"reduction={kind}")
    return torch.index_put(x, _columns(indices, tuple(x.shape)), updates, accumulate=kind == "add")


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _scatter_elements(node: Any, given: Given) -> Any:
    x, indices, updates = given
    axis, kind = node.attr("axis"), node.attr("reduction")
    indices = _wrapped(indices, x.shape[axis])
    if kind == "none":
        return torch.scatter(x, axis, indices, updates)
    return torch.scatter_reduce(x, axis, indices, updates, _REDUCTIONS[kind])


def _expand(node: Any, given: Given) -> Any:
    shape = ints(given, 1)
    assert shape is not None
    return torch.broadcast_to(given[0], torch.broadcast_shapes(given[0].shape, tuple(shape)))


def _tile(node: Any, given: Given) -> Any:
    repeats = ints(given, 1)
    assert repeats is not None
    return given[0].repeat(repeats)


def _pad(node: Any, given: Given) -> Any:
    x, pads, axes = given[0], ints(given, 1), ints(given, 3)
    assert pads is not None
    axes = list(range(x.dim())) if axes is None else [axis_of(axis, x.dim()) for axis in axes]
    widths = [(0, 0)] * x.dim()
    for position, axis in enumerate(axes):
        widths[axis] = (pads[position], pads[position + len(axes)])
    mode = node.attr("mode")
    if mode != "constant":
        return _pad_with_itself(x, widths, mode)
    value = at(given, 2)
    fill = 0.0 if value is None else value.reshape(-1)[0].item()
    flat = [width for pair in reversed(widths) for width in pair]
    if x.dtype == torch.bool:
        return F.pad(x.to(torch.uint8), flat, value=float(fill)).to(torch.bool)
    return F.pad(x, flat, value=fill)


def _pad_with_itself(x: Any, widths: list[tuple[int, int]], mode: str) -> Any:
    """Edges, reflections and repetitions are picks along each axis; widths below zero cut."""
    for axis, (before, after) in enumerate(widths):
        if before or after:
            places = np.arange(x.shape[axis])
            places = places[max(0, -before) : len(places) - max(0, -after)]
            places = np.pad(places, (max(0, before), max(0, after)), mode=mode)  # type: ignore[call-overload]
            x = torch.index_select(x, axis, torch.from_numpy(np.ascontiguousarray(places)))
    return x


def _trilu(node: Any, given: Given) -> Any:
    k = 0 if at(given, 1) is None else int(given[1].reshape(-1)[0])
    return (torch.triu if node.attr("upper") else torch.tril)(given[0], k)


def _depth_to_space(node: Any, given: Given) -> Any:
    x, block = given[0], node.attr("blocksize")
    n, c, h, w = x.shape
    if node.attr("mode") == "CRD":
        x = x.reshape(n, c // block**2, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
    else:
        x = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // block**2, h * block, w * block)


def _space_to_depth(node: Any, given: Given) -> Any:
    x, block = given[0], node.attr("blocksize")
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // block, block, w // block, block)
    if node.attr("mode") == "CRD":
        return parts.permute(0, 1, 3, 5, 2, 4).reshape(n, c * block**2, h // block, w // block)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(n, c * block**2, h // block, w // block)


def _one_hot(node: Any, given: Given) -> Any:
    indices, depth, values = given
    size = int(depth.reshape(-1)[0])
    axis = axis_of(node.attr("axis"), indices.dim() + 1)
    places = _wrapped(indices, size).unsqueeze(axis)
    shape = [size if i == axis else 1 for i in range(indices.dim() + 1)]
    return torch.where(places == torch.arange(size).reshape(shape), values[1], values[0])


def _reverse_sequence(node: Any, given: Given) -> Any:
    x, lengths = given
    time, batch = node.attr("time_axis"), node.attr("batch_axis")
    moved = x.movedim((batch, time), (0, 1))
    steps = torch.arange(moved.shape[1])[None]
    sizes = torch.as_tensor(lengths)[:, None]
    places = torch.where(steps < sizes, sizes - 1 - steps, steps)
    rows = torch.arange(moved.shape[0])[:, None]
    return moved[rows, places].movedim((0, 1), (batch, time))


def _eye_like(node: Any, given: Given) -> Any:
    rows, columns = given[0].shape
    offset = torch.arange(columns)[None] - torch.arange(rows)[:, None]
    return (offset == (node.attr("k") or 0)).to(torch_dtype(node.outputs[0].dtype))


def shape_of(node: Any, given: Given) -> Any:
    """Shape, as numbers: it does not depend on what a tensor holds."""
    shape = tuple(given[0].shape)
    return np.array(shape[node.attr("start") or 0 : node.attr("end")], dtype=np.int64)


def size_of(node: Any, given: Given) -> Any:
    """Size, as a number."""
    return np.array(math.prod(given[0].shape), dtype=np.int64)


TABLE: dict[str, Operator] = {
    "Reshape": Operator(_view, numbers=(1,)),
    "Squeeze": Operator(_view, numbers=(1,)),
    "Unsqueeze": Operator(_view, numbers=(1,)),
    "Flatten": Operator(_view),
    "Transpose": Operator(_transpose),
    "Concat": Operator(_concat),
    "Split": Operator(_split, numbers=(1,)),
    "Slice": Operator(_slice, numbers=(1, 2, 3, 4)),
    "Gather": Operator(_gather),
    "GatherElements": Operator(_gather_elements),
    "GatherND": Operator(_gather_nd),
    "ScatterND": Operator(_scatter_nd),
    "ScatterElements": Operator(_scatter_elements),
    "Expand": Operator(_expand, numbers=(1,)),
    "Tile": Operator(_tile, numbers=(1,)),
    "Pad": Operator(_pad, numbers=(1, 2, 3)),
    "Trilu": Operator(_trilu, numbers=(1,)),
    "DepthToSpace": Operator(_depth_to_space),
    "SpaceToDepth": Operator(_space_to_depth),
    "OneHot": Operator(_one_hot, numbers=(1,)),
    "ReverseSequence": Operator(_reverse_sequence),
    "EyeLike": Operator(_eye_like),
    "Shape": Operator(shape_of),
    "Size": Operator(size_of),
}
