"""Operators that move elements: shapes, slices, concatenation, padding, gathering and scattering."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.core import Node
from .table import NoMapping, Translation, maps


def positive(axis: int, rank: int) -> int:
    return axis + rank if axis < 0 else axis


@maps("Reshape")
def reshape(t: Translation, node: Node) -> Any:
    return t.o.reshape(t.arg(node, 0), t.arg(node, 1), not node.attr("allowzero"))


@maps("Transpose")
def transpose(t: Translation, node: Node) -> Any:
    x, perm = t.arg(node, 0), node.attr("perm")
    return t.transpose(x, perm if perm is not None else range(t.rank(x) - 1, -1, -1))


@maps("Squeeze")
def squeeze(t: Translation, node: Node) -> Any:
    axes = t.option(node, 1)
    if axes is None:
        if None in t.dims(t.arg(node, 0)):
            raise NoMapping("which dimensions are 1 is unknown")
        return t.o.squeeze(t.arg(node, 0))
    return t.o.squeeze(t.arg(node, 0), axes)


@maps("Unsqueeze")
def unsqueeze(t: Translation, node: Node) -> Any:
    return t.o.unsqueeze(t.arg(node, 0), t.arg(node, 1))


@maps("Flatten")
def flatten(t: Translation, node: Node) -> Any:
    x = t.arg(node, 0)
    rank = t.rank(x)
    axis = positive(node.attr("axis"), rank)
    if axis == 0:
        return t.o.reshape(x, t.i64([1, -1]), False)
    if axis == 1:
        return t.reshape(x, [0, -1])
    dims = t.dims(x)
    if None not in dims[:axis] or None not in dims[axis:]:
        known = [[size for size in part if size is not None] for part in (dims[:axis], dims[axis:])]
        both = [math.prod(part) if len(part) == length else -1 for part, length in zip(known, (axis, rank - axis))]
        return t.o.reshape(x, t.i64(both), False)
    head = t.o.reduce_prod(t.o.gather(t.shape_of(x), t.i64(list(range(axis))), t.i64(0)), t.i64([0]), True)
    return t.o.reshape(x, t.o.concat([head, t.i64([-1])], 0), False)


@maps("Concat")
def concat(t: Translation, node: Node) -> Any:
    return t.o.concat([t.arg(node, i) for i in range(len(node.inputs))], node.attr("axis"))


@maps("Split")
def split(t: Translation, node: Node) -> Any:
    x, axis = t.arg(node, 0), node.attr("axis")
    lengths = t.option(node, 1)
    if lengths is not None:
        return list(t.o.variadic_split(x, t.i64(axis), lengths).outputs())
    parts, size = len(node.outputs), t.dims(x)[axis]
    if size is None:
        raise NoMapping("the size of the axis that is split is not fixed")
    if size % parts == 0:
        return list(t.o.split(x, t.i64(axis), parts).outputs())
    each = -(-size // parts)  # the last one is smaller
    sizes = [max(0, min(each, size - each * i)) for i in range(parts)]
    return list(t.o.variadic_split(x, t.i64(axis), t.i64(sizes)).outputs())


@maps("Slice")
def slice_(t: Translation, node: Node) -> Any:
    starts, ends = t.arg(node, 1), t.arg(node, 2)
    axes, steps = t.option(node, 3), t.option(node, 4)
    if steps is None:
        count = t.static(starts, 0, "the number of axes that are sliced")
        steps = t.same_type(t.i64([1] * count), starts)
    return t.o.slice(t.arg(node, 0), starts, ends, steps, axes)


@maps("Gather")
def gather(t: Translation, node: Node) -> Any:
    return t.o.gather(t.arg(node, 0), t.arg(node, 1), t.i64(node.attr("axis")))


@maps("GatherElements")
def gather_elements(t: Translation, node: Node) -> Any:
    x, axis = t.arg(node, 0), node.attr("axis")
    return t.o.gather_elements(x, _counted_from_start(t, x, t.arg(node, 1), axis), axis)


def _counted_from_start(t: Translation, x: Any, indices: Any, axis: int) -> Any:
    """`indices` with negative ones counted from the start: openvino's GatherElements takes no others."""
    found = indices.get_node()
    if found.get_type_name() == "Constant" and (found.get_data() >= 0).all():
        return indices
    size = t.same_type(t.size_at(x, axis), indices)
    return t.o.select(t.o.less(indices, t.number(0, indices)), t.o.add(indices, size), indices)


@maps("GatherND")
def gather_nd(t: Translation, node: Node) -> Any:
    return t.o.gather_nd(t.arg(node, 0), t.arg(node, 1), node.attr("batch_dims"))


@maps("ScatterElements", "Scatter")
def scatter_elements(t: Translation, node: Node) -> Any:
    reduction = {"add": "sum", "mul": "prod"}.get(node.attr("reduction"), node.attr("reduction") or "none")
    x, indices, updates = (t.arg(node, i) for i in range(3))
    return t.o.scatter_elements_update(x, indices, updates, t.i64(node.attr("axis")), reduction)


@maps("ScatterND")
def scatter_nd(t: Translation, node: Node) -> Any:
    reduction = {"add": "sum", "mul": "prod"}.get(node.attr("reduction"), node.attr("reduction") or "none")
    return t.o.scatter_nd_update(t.arg(node, 0), t.arg(node, 1), t.arg(node, 2), reduction)


@maps("Expand")
def expand(t: Translation, node: Node) -> Any:
    return t.o.broadcast(t.arg(node, 0), t.arg(node, 1), broadcast_spec="BIDIRECTIONAL")


@maps("Tile")
def tile(t: Translation, node: Node) -> Any:
    x, repeats = t.arg(node, 0), t.arg(node, 1)
    if t.known(node, 1) is not None:
        return t.o.tile(x, repeats)
    # The CPU plugin's Tile leaves its result unwritten where the repeats come from outside: [r0, d0, r1, d1, ...] then.
    sizes, rank = t.shape_of(x), t.rank(x)
    pairs = t.o.concat([t.unsqueeze(repeats, [1]), t.unsqueeze(sizes, [1])], 1)
    apart = t.unsqueeze(x, list(range(0, 2 * rank, 2)))
    wide = t.o.broadcast(apart, t.o.reshape(pairs, t.i64([-1]), False), broadcast_spec="BIDIRECTIONAL")
    return t.o.reshape(wide, t.o.multiply(repeats, sizes), False)


@maps("Pad")
def pad(t: Translation, node: Node) -> Any:
    x, mode = t.arg(node, 0), node.attr("mode")
    if mode == "wrap":
        raise NoMapping("there is no mode wrap")
    rank, axes, pads = t.rank(x), t.ints(node, 3), t.ints(node, 1)
    if node.input(3) is not None and (axes is None or pads is None):
        raise NoMapping("its axes are not constant")
    if pads is not None:
        of = [positive(a, rank) for a in axes] if axes is not None else list(range(rank))
        begin, end = [0] * rank, [0] * rank
        for position, axis in enumerate(of):
            begin[axis], end[axis] = pads[position], pads[position + len(of)]
        first, last = t.i64(begin), t.i64(end)
    else:
        first, last = (t.o.split(t.arg(node, 1), t.i64(0), 2).output(i) for i in (0, 1))
    fill = t.option(node, 2)
    if fill is not None and t.rank(fill):
        fill = t.reshape(fill, [])
    return t.o.pad(x, first, last, mode, fill if fill is not None or mode != "constant" else t.number(0, x))


@maps("Shape")
def shape(t: Translation, node: Node) -> Any:
    made = t.shape_of(t.arg(node, 0))
    start, end = node.attr("start") or 0, node.attr("end")
    if not start and end is None:
        return made
    rank = t.rank(t.arg(node, 0))
    first, last, _ = slice(start, end).indices(rank)
    if last <= first:
        return t.ov.op.Constant(np.zeros(0, np.int64), shared_memory=False)
    return t.o.gather(made, t.i64(list(range(first, last))), t.i64(0))


@maps("Size")
def size(t: Translation, node: Node) -> Any:
    return t.o.reduce_prod(t.shape_of(t.arg(node, 0)), t.i64([0]), False)


@maps("DepthToSpace")
def depth_to_space(t: Translation, node: Node) -> Any:
    mode = "blocks_first" if node.attr("mode") == "DCR" else "depth_first"
    return t.o.depth_to_space(t.arg(node, 0), mode, node.attr("blocksize"))


@maps("SpaceToDepth")
def space_to_depth(t: Translation, node: Node) -> Any:
    if node.attr("mode") not in (None, "DCR"):
        raise NoMapping("its order of channels is another")
    return t.o.space_to_depth(t.arg(node, 0), "blocks_first", node.attr("blocksize"))


@maps("ReverseSequence")
def reverse_sequence(t: Translation, node: Node) -> Any:
    return t.o.reverse_sequence(t.arg(node, 0), t.arg(node, 1), node.attr("batch_axis"), node.attr("time_axis"))


@maps("Compress")
def compress(t: Translation, node: Node) -> Any:
    x, axis = t.arg(node, 0), node.attr("axis")
    if axis is None:
        x, axis = t.o.reshape(x, t.i64([-1]), False), 0
    chosen = t.o.squeeze(t.o.non_zero(t.arg(node, 1)), t.i64([0]))
    return t.o.gather(x, chosen, t.i64(axis))
