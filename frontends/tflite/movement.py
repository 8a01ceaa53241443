"""Operators that move, repeat or join elements without computing any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir.core import Value
from ...ir.errors import InvalidModel, UnsupportedModel
from ...ir.types import F32, I64
from .call import TO_FIRST, Call, converts
from .schema import DTYPES


def moved(call: Call, index: int = 0, narrow: bool = False) -> Value:
    """An operand whose elements go to the result unchanged: as it is stored where both mean the same."""
    return call.value(index) if call.as_stored(narrow) else call.real(index)


def give_moved(call: Call, value: Value, index: int = 0, narrow: bool = False) -> None:
    """The result of a movement of `moved`."""
    if call.as_stored(narrow):
        call.give(value, index)
    else:
        call.give_real(value, index)


@converts("RESHAPE")
def _reshape(call: Call) -> None:
    b = call.builder
    if call.has(1):
        shape = call.wide(1)
        if shape.rank == 0:
            shape = b.op("Unsqueeze", shape, b.ints([0]))
    else:
        given = call.option("new_shape")
        shape = b.ints([] if given is None else given.tolist())
    parts = call.complex(0)
    if parts is not None:
        call.give_complex(b.op("Reshape", parts, b.op("Concat", shape, b.ints([2]), axis=0)))
        return
    zeros = shape.const is not None and 0 in shape.const.ints()
    give_moved(call, b.op("Reshape", moved(call), shape, allowzero=int(zeros)))


@converts("SQUEEZE")
def _squeeze(call: Call) -> None:
    given, rank = call.option("squeeze_dims"), call.rank(0)
    axes = sorted({call.axis(a, rank) for a in ([] if given is None else given.tolist())})
    give_moved(call, call.builder.op("Squeeze", moved(call), call.builder.ints(axes) if axes else None))


@converts("EXPAND_DIMS")
def _expand_dims(call: Call) -> None:
    axes = call.ints(1)
    if len(axes) != 1:
        raise InvalidModel(f"has {len(axes)} axes")
    axis = call.axis(axes[0], call.rank(0) + 1)
    give_moved(call, call.builder.op("Unsqueeze", moved(call), call.builder.ints([axis])))


@converts("TRANSPOSE")
def _transpose(call: Call) -> None:
    perm, rank = call.ints(1), call.rank(0)
    perm = [call.axis(axis, rank) for axis in perm]
    if sorted(perm) != list(range(rank)):
        raise InvalidModel(f"has permutation {perm} of {rank} dimensions")
    give_moved(call, call.builder.op("Transpose", moved(call), perm=tuple(perm)))


@converts("CONCATENATION")
def _concatenation(call: Call) -> None:
    activation = call.option("activation")
    stored = call.as_stored() and not activation
    parts = [call.value(i) if stored else call.real(i) for i in range(len(call.inputs))]
    axis = call.axis(call.option("axis"), call.rank(0))
    result = call.builder.op("Concat", *parts, axis=axis)
    if stored:
        call.give(result)
    else:
        call.give_real(result, 0, activation)


@converts("PACK")
def _pack(call: Call) -> None:
    axis = call.axis(call.option("axis"), call.rank(0) + 1)
    b = call.builder
    parts = [b.op("Unsqueeze", moved(call, i), b.ints([axis])) for i in range(len(call.inputs))]
    give_moved(call, b.op("Concat", *parts, axis=axis))


@converts("UNPACK")
def _unpack(call: Call) -> None:
    axis = call.axis(call.option("axis"), call.rank(0))
    b = call.builder
    for index, part in enumerate(_split(call, moved(call), axis, [1] * len(call.outputs))):
        give_moved(call, b.op("Squeeze", part, b.ints([axis])), index)


@converts("SPLIT")
def _split_evenly(call: Call) -> None:
    axes = call.ints(0)
    if len(axes) != 1:
        raise InvalidModel(f"has {len(axes)} axes")
    value = moved(call, 1)
    axis = call.axis(axes[0], call.rank(1))
    size, count = call.extent(value, axis), len(call.outputs)
    if size is not None and size % count:
        raise InvalidModel(f"splits {size} into {count} equal parts")
    for index, part in enumerate(_split(call, value, axis, None if size is None else [size // count] * count)):
        give_moved(call, part, index)


@converts("SPLIT_V")
def _split_by_sizes(call: Call) -> None:
    sizes, axes = call.ints(1), call.ints(2)
    if len(axes) != 1 or len(sizes) != len(call.outputs) or sizes.count(-1) > 1:
        raise InvalidModel(f"has sizes {sizes} along axes {axes} for {len(call.outputs)} results")
    value, axis = moved(call), call.axis(axes[0], call.rank(0))
    if -1 in sizes:
        size = call.extent(value, axis)
        if size is None:
            raise UnsupportedModel("splits an open dimension by the size of what is left")
        sizes[sizes.index(-1)] = size - sum(sizes) - 1
    for index, part in enumerate(_split(call, value, axis, sizes)):
        give_moved(call, part, index)


def _split(call: Call, value: Value, axis: int, sizes: Sequence[int] | None) -> Sequence[Value]:
    b, count = call.builder, len(call.outputs)
    if sizes is None:
        return b.node("Split", [value], {"axis": axis, "num_outputs": count}, outputs=count).outputs
    return b.node("Split", [value, b.ints(sizes)], {"axis": axis}, outputs=count).outputs


def amounts(call: Call, index: int) -> list[tuple[int, int]]:
    """What is added before and behind each axis: a constant [rank, 2]."""
    flat = call.ints(index)
    if len(flat) != 2 * call.rank(0) or min(flat, default=0) < 0:
        raise InvalidModel(f"pads {call.rank(0)} dimensions by {flat[:16]}")
    return list(zip(flat[::2], flat[1::2]))


@converts("PAD", "PADV2")
def _pad(call: Call) -> None:
    """Constants around a tensor: zero, which a quantized one stores as its zero point, or the third operand."""
    b = call.builder
    stored = call.name == "PAD" and call.as_stored(narrow=True)
    pads = amounts(call, 1) if call.is_const(1) else []
    image = len(pads) == 4 and pads[0] == pads[3] == (0, 0)
    if image:  # channels first, so that the convolution behind it can take its zeros
        pads = [pads[axis] for axis in TO_FIRST]
        x = call.value_first(0) if stored else call.real_first(0)
    else:
        x = call.value(0) if stored else call.real(0)
    fill = None
    if call.name == "PADV2":
        fill = call.real(2)
        fill = b.op("Reshape", fill, b.ints([])) if fill.rank != 0 else fill
    elif stored and (quantization := call.info(0).quantization) is not None:
        fill = b.const(np.array(int(quantization.zero[0])), like=x)
        fill = call.cast(fill, x.dtype)
    if call.is_const(1):
        ends = b.ints([p[0] for p in pads] + [p[1] for p in pads])
    else:
        ends = b.op("Reshape", b.op("Transpose", call.wide(1), perm=(1, 0)), b.ints([-1]))
    result = b.op("Pad", x, ends, fill)
    result = result if stored else call.quantized(result, call.outputs[0])
    call.give(call.channels_last(result) if image else result)


@converts("MIRROR_PAD")
def _mirror_pad(call: Call) -> None:
    """Mirrored without the edge (REFLECT, ONNX's "reflect"), or with it, for which ONNX has no mode: cut and joined."""
    pads, b, x = amounts(call, 1), call.builder, moved(call)
    if call.option("mode") == 0:
        x = moved(call, narrow=True)
        padded = b.op("Pad", x, b.ints([p[0] for p in pads] + [p[1] for p in pads]), mode="reflect")
        give_moved(call, padded, narrow=True)
        return
    for axis, (before, behind) in enumerate(pads):
        size = call.extent(x, axis)
        if size is None or max(before, behind) > size:
            raise UnsupportedModel(f"mirrors {max(before, behind)} of axis {axis}, which has {size or 'an open size'}")
        parts = [_reversed(call, x, axis, before - 1, -size - 1)] if before else []
        parts.append(x)
        if behind:
            parts.append(_reversed(call, x, axis, size - 1, size - behind - 1 if behind < size else -size - 1))
        x = b.op("Concat", *parts, axis=axis) if len(parts) > 1 else x
    give_moved(call, x)


def _reversed(call: Call, x: Value, axis: int, start: int, end: int) -> Value:
    b = call.builder
    return b.op("Slice", x, b.ints([start]), b.ints([end]), b.ints([axis]), b.ints([-1]))


@converts("REVERSE_V2")
def _reverse(call: Call) -> None:
    x, rank = moved(call), call.rank(0)
    for axis in sorted({call.axis(a, rank) for a in call.ints(1)}):
        x = _reversed(call, x, axis, -1, -(2**62))
    give_moved(call, x)


@converts("TILE")
def _tile(call: Call) -> None:
    give_moved(call, call.builder.op("Tile", moved(call), call.wide(1)))


@converts("BROADCAST_TO")
def _broadcast_to(call: Call) -> None:
    give_moved(call, call.builder.op("Expand", moved(call), call.wide(1)))


@converts("FILL")
def _fill(call: Call) -> None:
    call.give(call.builder.op("Expand", call.value(1), call.wide(0)))


@converts("ZEROS_LIKE")
def _zeros_like(call: Call) -> None:
    x = call.real(0)
    call.give_real(call.builder.op("Expand", call.builder.const(0, like=x), call.builder.op("Shape", x)))


@converts("SHAPE")
def _shape(call: Call) -> None:
    dtype = DTYPES.get(call.option("type"), I64) if call.options is not None else call.outputs[0].dtype
    call.give(call.cast(call.builder.op("Shape", call.value(0)), dtype))


@converts("RANK")
def _rank(call: Call) -> None:
    call.give(call.builder.const(call.rank(0), call.outputs[0].dtype))


@converts("BROADCAST_ARGS")
def _broadcast_args(call: Call) -> None:
    """The shape that two shapes broadcast to: of ones expanded by both."""
    b = call.builder
    one = b.const([1.0], F32)
    both = b.op("Expand", b.op("Expand", one, call.wide(0)), call.wide(1))
    call.give(call.cast(b.op("Shape", both), call.outputs[0].dtype))


@converts("RANGE")
def _range(call: Call) -> None:
    call.give(call.builder.op("Range", *(call.scalar(call.value(index)) for index in range(3))))


@converts("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
def _batches(call: Call) -> None:
    """Blocks of the axes behind the first become images of their own, after padding; or back, before cropping."""
    sizes, flat, rank = call.ints(1), call.ints(2), call.rank(0)
    count = len(sizes)
    if not 0 < count < rank or len(flat) != 2 * count or not 0 < min(sizes) <= max(sizes) < 1 << 24 or min(flat) < 0:
        raise InvalidModel(f"has blocks {sizes[:8]} with margins {flat[:16]} for {rank} dimensions")
    b, x, margins = call.builder, moved(call, narrow=True), list(zip(flat[::2], flat[1::2]))
    rest = range(count + 1, rank)
    if call.name == "SPACE_TO_BATCH_ND":
        if any(flat):
            ends = [[0, *(m[side] for m in margins), *(0 for _ in rest)] for side in (0, 1)]
            fill = None
            if call.as_stored(narrow=True) and (quantization := call.info(0).quantization) is not None:
                fill = call.cast(b.const(np.array(int(quantization.zero[0])), like=x), x.dtype)
            x = b.op("Pad", x, b.ints(ends[0] + ends[1]), fill)
        known = [call.extent(x, axis) for axis in range(rank)]
        if any(size is not None and size % block for size, block in zip(known[1:], sizes)):
            raise InvalidModel(f"cuts {known} into blocks of {sizes}")
        split = [0, *(part for i, block in enumerate(sizes) for part in (_quotient(known[1 + i], block), block))]
        x = b.op("Reshape", x, b.ints([*split, *(known[axis] or -1 for axis in rest)]))
        perm = [*range(2, 2 * count + 1, 2), 0, *range(1, 2 * count, 2), *range(2 * count + 1, rank + count)]
        x = b.op("Transpose", x, perm=tuple(perm))
        merged = [-1, *(_quotient(known[1 + i], block) for i, block in enumerate(sizes))]
        give_moved(call, b.op("Reshape", x, b.ints([*merged, *(known[axis] or -1 for axis in rest)])), narrow=True)
        return
    known = [call.extent(x, axis) for axis in range(rank)]
    if any(size is None for size in known[1:]):
        raise UnsupportedModel("joins images of open size")
    x = b.op("Reshape", x, b.ints([*sizes, -1, *(size or 0 for size in known[1:])]))
    perm = [count, *(axis for i in range(count) for axis in (count + 1 + i, i)), *range(2 * count + 1, rank + count)]
    x = b.op("Transpose", x, perm=tuple(perm))
    whole = [(size or 0) * block for size, block in zip(known[1:], sizes)]
    x = b.op("Reshape", x, b.ints([-1, *whole, *(known[axis] or 0 for axis in rest)]))
    if any(flat):
        if any(before + behind > size for (before, behind), size in zip(margins, whole)):
            raise InvalidModel(f"crops {margins} of {whole}")
        starts, ends_ = [m[0] for m in margins], [size - m[1] for m, size in zip(margins, whole)]
        x = b.op("Slice", x, b.ints(starts), b.ints(ends_), b.ints(range(1, count + 1)))
    give_moved(call, x, narrow=True)


def _quotient(size: int | None, block: int) -> int:
    if size is None:
        raise UnsupportedModel("cuts an open dimension into blocks")
    return size // block
