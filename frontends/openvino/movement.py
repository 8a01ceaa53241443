"""Layers that change shapes and order: reshapes, transposes, slices, concatenation, padding."""

from __future__ import annotations

import numpy as np

from ...ir.core import Value
from ...ir.errors import InvalidModel
from ...ir.infer import content_of
from ...ir.types import I32, I64
from . import weights
from .table import Made, Reading, reads, refused
from .xml import Layer


@reads("Reshape")
def reshape(r: Reading, layer: Layer) -> Made:
    x, shape = r.arg(layer, 0), r.vector(r.arg(layer, 1))
    if shape.const is not None:
        found = weights.joined(r, x, shape.const.ints())
        if found is not None:
            return found
    content = content_of(shape)
    zeros = not layer.flag("special_zero") and (content is None or any(isinstance(d, int) and d == 0 for d in content))
    return r.b.op("Reshape", x, shape, allowzero=int(zeros))


@reads("Transpose")
def transpose(r: Reading, layer: Layer) -> Made:
    x = r.arg(layer, 0)
    perm = r.known_ints(layer, 1) or tuple(range(r.rank(layer, x) - 1, -1, -1))
    if sorted(perm) != list(range(len(perm))):
        raise InvalidModel(f"{layer} has the order {list(perm[:8])}")
    return r.b.op("Transpose", x, perm=perm)


@reads("Squeeze")
def squeeze(r: Reading, layer: Layer) -> Made:
    axes = r.option(layer, 1)
    return r.b.op("Squeeze", r.arg(layer, 0), None if axes is None else r.vector(axes))


@reads("Unsqueeze")
def unsqueeze(r: Reading, layer: Layer) -> Made:
    return r.b.op("Unsqueeze", r.arg(layer, 0), r.vector(r.arg(layer, 1)))


@reads("Concat")
def concat(r: Reading, layer: Layer) -> Made:
    parts = r.args(layer)
    return parts[0] if len(parts) == 1 else r.b.op("Concat", *parts, axis=layer.int("axis"))


@reads("Split")
def split(r: Reading, layer: Layer) -> Made:
    x, count = r.arg(layer, 0), layer.int("num_splits")
    if count != len(layer.outputs):
        raise InvalidModel(f"{layer} makes {count} parts and has {len(layer.outputs)} outputs")
    axis = r.known_axis(layer, 1, r.rank(layer, x))
    return r.b.node("Split", [x], {"axis": axis, "num_outputs": count}, outputs=count).outputs


@reads("VariadicSplit")
def variadic_split(r: Reading, layer: Layer) -> Made:
    x = r.arg(layer, 0)
    axis, sizes = r.known_axis(layer, 1, r.rank(layer, x)), r.arg(layer, 2)
    tensor = r.fixed(sizes)
    if tensor is not None and -1 in tensor.ints():
        whole = r.dims(layer, x)[axis]
        given = tensor.ints()
        rest = whole - (sum(given) + 1)
        if not isinstance(rest, int):
            raise refused(layer, "the size of the part that takes the rest is not fixed")
        sizes = r.b.ints([rest if size == -1 else size for size in given])
    return r.b.node("Split", [x, r.vector(sizes)], {"axis": axis}, outputs=len(layer.outputs)).outputs


@reads("Slice")
def slice_(r: Reading, layer: Layer) -> Made:
    starts, ends, steps = (r.vector(r.arg(layer, index)) for index in (1, 2, 3))
    axes = r.option(layer, 4)
    return r.b.op("Slice", r.arg(layer, 0), starts, ends, None if axes is None else r.vector(axes), steps)


@reads("StridedSlice")
def strided_slice(r: Reading, layer: Layer) -> Made:
    """Its masks say where an end stands for the whole axis, where an axis is new, goes, or is all that is left out."""
    x = r.arg(layer, 0)
    rank = r.rank(layer, x)
    begin, end = r.vector(r.arg(layer, 1)), r.vector(r.arg(layer, 2))
    count = begin.shape[0] if begin.shape else None
    if not isinstance(count, int) or count > 64:
        raise refused(layer, "the number of axes is unknown")
    names = ("begin_mask", "end_mask", "new_axis_mask", "shrink_axis_mask", "ellipsis_mask")
    masks = [[*layer.ints(name, ()), *[0] * count][:count] for name in names]
    from_start, to_end, new, shrunk, ellipsis = ([bool(bit) for bit in mask] for mask in masks)
    steps = r.known_ints(layer, 3) if len(layer.inputs) > 3 else (1,) * count
    if len(steps) != count or sum(ellipsis) > 1:
        raise InvalidModel(f"{layer} has masks that do not fit")
    own = count - sum(new) - sum(ellipsis)  # axes of x that have an entry
    axis, place, places, axes, gone, made = 0, 0, [], [], [], []
    for index in range(count):
        if ellipsis[index]:
            axis, place = axis + rank - own, place + rank - own
        elif new[index]:
            made.append(place)
            place += 1
        else:
            places.append(index)
            axes.append(axis)
            if shrunk[index]:
                gone.append(axis)
            else:
                place += 1
            axis += 1
    if axis > rank:
        raise InvalidModel(f"{layer} slices {axis} axes, its operand has {rank}")
    if places:
        x = _sliced(r, x, begin, end, places, axes, steps, from_start, to_end, shrunk)
    x = r.b.op("Squeeze", x, r.b.ints(gone)) if gone else x
    return r.unsqueeze(x, made)


def _sliced(
    r: Reading, x: Value, begin: Value, end: Value, places: list[int], axes: list[int], steps: tuple[int, ...],
    from_start: list[bool], to_end: list[bool], shrunk: list[bool],
) -> Value:  # fmt: skip
    largest = (1 << 63) - 1
    first = [(0 if steps[i] > 0 else largest) for i in places]
    last = [(largest if steps[i] > 0 else -largest) for i in places]
    starts = _picked(r, begin, places, [from_start[i] and not shrunk[i] for i in places], first)
    if any(shrunk[i] for i in places):
        one = r.b.op("Add", starts, r.b.ints([1] * len(places))) if starts.const is None else None
        after = one or r.b.ints([s + 1 for s in starts.const.ints()])  # type: ignore[union-attr]
        ends = _picked(r, end, places, [to_end[i] for i in places], last)
        # The one element at -1 ends where the axis does.
        ends = _where(r, [shrunk[i] for i in places], _wrapped(r, after), ends)
    else:
        ends = _picked(r, end, places, [to_end[i] for i in places], last)
    return r.b.op("Slice", x, starts, ends, r.b.ints(axes), r.b.ints([steps[i] for i in places]))


def _wrapped(r: Reading, after: Value) -> Value:
    largest = (1 << 63) - 1
    if after.const is not None:
        return r.b.ints([largest if e == 0 else e for e in after.const.ints()])
    return r.b.op("Where", r.b.op("Equal", after, r.b.ints([0])), r.b.ints([largest]), after)


def _picked(r: Reading, values: Value, places: list[int], masked: list[bool], instead: list[int]) -> Value:
    """Some of the elements, with others where a mask says so."""
    if values.const is not None:
        given = values.const.ints()
        return r.b.ints([other if mask else given[p] for p, mask, other in zip(places, masked, instead)])
    chosen = r.b.op("Gather", values, r.b.ints(places), axis=0)
    return _where(r, masked, r.b.ints(instead), chosen)


def _where(r: Reading, mask: list[bool], a: Value, b: Value) -> Value:
    if not any(mask):
        return b
    if a.const is not None and b.const is not None:
        pairs = zip(mask, a.const.ints(), b.const.ints())
        return r.b.ints([x if chosen else y for chosen, x, y in pairs])
    return a if all(mask) else r.b.op("Where", r.b.const(np.array(mask)), a, b)


@reads("Broadcast")
def broadcast(r: Reading, layer: Layer) -> Made:
    x, target = r.arg(layer, 0), r.vector(r.arg(layer, 1))
    if layer.text("mode", "numpy").lower() == "explicit":
        axes = r.known_ints(layer, 2)
        rank = target.shape[0] if target.shape else None
        if not isinstance(rank, int) or rank > 64 or len(axes) != r.rank(layer, x):
            raise refused(layer, "where its axes go is unknown")
        x = r.unsqueeze(x, [axis for axis in range(rank) if axis not in axes])
    return r.b.op("Expand", x, _without_own(x, target))


def _without_own(x: Value, target: Value) -> Value:
    """The shape that ONNX's Expand had: openvino, whose Broadcast goes one way, writes Maximum(shape of x, shape).

    Expand goes both ways. The two differ for sizes of 0 only, where openvino gives 1.
    """
    node = target.producer
    if x.shape is None or node is None or node.op.key != "Max" or len(node.inputs) != 2:
        return target
    for own, other in (node.inputs, node.inputs[::-1]):
        content = None if own is None else content_of(own)
        if content is not None and other is not None and len(content) >= len(x.shape):
            before = len(content) - len(x.shape)
            if all(d == 1 for d in content[:before]) and content[before:] == x.shape:
                return other
    return target


@reads("Tile")
def tile(r: Reading, layer: Layer) -> Made:
    x, repeats = r.arg(layer, 0), r.vector(r.arg(layer, 1))
    rank, count = r.rank(layer, x), repeats.shape[0] if repeats.shape else None
    if not isinstance(count, int) or count > 64:
        raise refused(layer, "the number of repeats is unknown")
    if count < rank:
        ones = r.b.ints([1] * (rank - count))
        given = repeats.const
        repeats = (
            r.b.op("Concat", ones, repeats, axis=0)
            if given is None
            else r.b.ints([1] * (rank - count) + [*given.ints()])
        )
    return r.b.op("Tile", r.unsqueeze(x, list(range(count - rank))), repeats)


@reads("Pad")
def pad(r: Reading, layer: Layer) -> Made:
    mode = layer.choice("pad_mode", {"constant": "constant", "edge": "edge", "reflect": "reflect"})
    first, last = r.vector(r.arg(layer, 1)), r.vector(r.arg(layer, 2))
    if first.const is not None and last.const is not None:
        pads = r.b.ints([*first.const.ints(), *last.const.ints()])
    else:
        pads = r.b.op("Concat", first, last, axis=0)
    fill = r.option(layer, 3) if mode == "constant" else None
    return r.b.op("Pad", r.arg(layer, 0), pads, None if fill is None else r.scalar(fill), mode=mode)


@reads("ShapeOf")
def shape_of(r: Reading, layer: Layer) -> Made:
    made = r.shape_of(r.arg(layer, 0))
    dtype = layer.dtype("output_type", "i64")
    if dtype not in (I32, I64):
        raise InvalidModel(f"{layer} gives sizes as {dtype}")
    return r.cast(made, dtype)


@reads("DepthToSpace")
def depth_to_space(r: Reading, layer: Layer) -> Made:
    mode = layer.choice("mode", {"blocks_first": "DCR", "depth_first": "CRD"})
    return r.b.op("DepthToSpace", r.arg(layer, 0), mode=mode, blocksize=layer.int("block_size", 1))


@reads("SpaceToDepth")
def space_to_depth(r: Reading, layer: Layer) -> Made:
    layer.choice("mode", {"blocks_first": "DCR"})
    return r.b.op("SpaceToDepth", r.arg(layer, 0), blocksize=layer.int("block_size", 1))


@reads("ShuffleChannels")
def shuffle_channels(r: Reading, layer: Layer) -> Made:
    """[..., groups * each, ...] with groups and each exchanged."""
    x = r.arg(layer, 0)
    rank = r.rank(layer, x)
    axis, groups = r.axis(layer, layer.int("axis", 1), rank), layer.int("group", 1)
    size = r.dims(layer, x)[axis]
    if not isinstance(size, int) or groups < 1 or size % groups:
        raise refused(layer, f"{size} channels are not {groups} groups")
    rest = [-1] if axis + 1 < rank else []
    apart = r.reshape(x, [0] * axis + [groups, size // groups, *rest])
    order = [*range(axis), axis + 1, axis, *([axis + 2] if rest else [])]
    return r.b.op("Reshape", r.transpose(apart, order), r.shape_of(x))


@reads("Reverse")
def reverse(r: Reading, layer: Layer) -> Made:
    """Some axes backwards: their numbers, or true for each of them."""
    x = r.arg(layer, 0)
    rank = r.rank(layer, x)
    said = r.known(layer, 1).array().reshape(-1)[: rank + 1].tolist()
    mode = layer.choice("mode", {"index": "index", "mask": "mask"})
    axes = [r.axis(layer, int(a), rank) for a in said] if mode == "index" else [i for i, a in enumerate(said) if a]
    if not axes:
        return x
    first, last, step = (r.b.ints([number] * len(axes)) for number in (-1, -(1 << 63) + 1, -1))
    return r.b.op("Slice", x, first, last, r.b.ints(axes), step)


@reads("ReverseSequence")
def reverse_sequence(r: Reading, layer: Layer) -> Made:
    x = r.arg(layer, 0)
    rank = r.rank(layer, x)
    batch, time = (
        r.axis(layer, layer.int(name, default), rank) for name, default in (("batch_axis", 0), ("seq_axis", 1))
    )
    return r.b.op("ReverseSequence", x, r.vector(r.arg(layer, 1)), batch_axis=batch, time_axis=time)
