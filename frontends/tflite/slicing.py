"""Cutting parts out of tensors: SLICE and STRIDED_SLICE with its masks."""

from __future__ import annotations

from ...ir.core import Value
from ...ir.errors import InvalidModel, UnsupportedModel
from ...ir.types import BOOL, I64
from .call import Call, converts
from .movement import give_moved, moved

_END = 2**62


@converts("SLICE")
def _slice(call: Call) -> None:
    """`size` elements of each axis from `begin` on; -1 for all that are left."""
    if not (call.is_const(1) and call.is_const(2)):
        _computed_slice(call)
        return
    starts, sizes, rank = call.ints(1), call.ints(2), call.rank(0)
    if len(starts) != rank or len(sizes) != rank or min(starts + sizes, default=0) < -1 or min(starts, default=0) < 0:
        raise InvalidModel(f"takes {sizes[:8]} from {starts[:8]} of {rank} dimensions")
    b = call.builder
    ends = [_END if size == -1 else start + size for start, size in zip(starts, sizes)]
    give_moved(call, b.op("Slice", moved(call), b.ints(starts), b.ints(ends), b.ints(range(rank))))


def _computed_slice(call: Call) -> None:
    b, starts, sizes = call.builder, call.wide(1), call.wide(2)
    is_rest = b.op("Equal", sizes, b.const(-1, I64))
    ends = b.op("Where", is_rest, b.const(_END, I64), b.op("Add", starts, sizes))
    give_moved(call, b.op("Slice", moved(call), starts, ends, b.ints(range(call.rank(0)))))


@converts("STRIDED_SLICE")
def _strided_slice(call: Call) -> None:
    """Python's indexing: bits of masks leave out a begin or an end, drop an axis, or make a new one.

    Semantics: tf.strided_slice. Entry i of the lists is bit i of the masks.
    """
    if not (call.is_const(1) and call.is_const(2)):
        _computed_strides(call)
        return
    begins, ends, steps = call.ints(1), call.ints(2), call.ints(3)
    rank = call.rank(0)
    if not len(begins) == len(ends) == len(steps) or 0 in steps:
        raise InvalidModel(f"has begins {begins[:8]}, ends {ends[:8]} and strides {steps[:8]}")
    if call.option("offset"):
        ends = [begin + end for begin, end in zip(begins, ends)]
    masks = {name: call.option(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    if masks["ellipsis"] & (masks["ellipsis"] - 1):
        raise InvalidModel("has more than one ellipsis")
    taken = sum(1 for i in range(len(begins)) if not (masks["new_axis"] | masks["ellipsis"]) >> i & 1)
    if taken > rank:
        raise InvalidModel(f"indexes {taken} of {rank} dimensions")
    axis = 0
    slices: list[tuple[int, int, int, int]] = []
    dropped: list[int] = []
    made: list[int] = []
    for i, (begin, end, step) in enumerate(zip(begins, ends, steps)):
        bit = {name: bool(mask >> i & 1) for name, mask in masks.items()}
        if bit["ellipsis"]:
            axis += rank - taken
        elif bit["new_axis"]:
            made.append(axis + len(made) - len(dropped))
        else:
            if bit["shrink_axis"]:
                end, step = (begin + 1 if begin != -1 else _END), 1
                dropped.append(axis)
            else:
                begin = begin if not bit["begin"] else 0 if step > 0 else _END
                end = end if not bit["end"] else _END if step > 0 else -_END
            slices.append((axis, begin, end, step))
            axis += 1
    give_moved(call, _cut(call, slices, dropped, made))


def _computed_strides(call: Call) -> None:
    """The same with begins and ends that are computed, of the first axes, none of which is new."""
    steps, rank, b = call.ints(3), call.rank(0), call.builder
    count = len(steps)
    if call.option("ellipsis_mask") or call.option("new_axis_mask"):
        raise UnsupportedModel("has begins that are computed, and an ellipsis or a new axis")
    if not 0 < count <= rank or 0 in steps or call.info(1).shape != (count,) or call.info(2).shape != (count,):
        raise InvalidModel(f"has strides {steps[:8]} for {rank} dimensions")
    begin, end, shrink = (
        [bool(call.option(f"{name}_mask") >> i & 1) for i in range(count)] for name in ("begin", "end", "shrink_axis")
    )
    left = [0 if step > 0 else _END for step in steps]
    right = [_END if step > 0 else -_END for step in steps]
    begins, ends = call.wide(1), call.wide(2)
    if call.option("offset"):
        ends = b.op("Add", begins, ends)
    if any(shrink):
        is_last = b.op("Equal", begins, b.const(-1, I64))
        one_more = b.op("Where", is_last, b.const(_END, I64), b.op("Add", begins, b.const(1, I64)))
        ends = b.op("Where", b.const(shrink, BOOL), one_more, ends)
    begins = b.op("Where", b.const([bit and not s for bit, s in zip(begin, shrink)], BOOL), b.ints(left), begins)
    ends = b.op("Where", b.const([bit and not s for bit, s in zip(end, shrink)], BOOL), b.ints(right), ends)
    steps = [1 if bit else step for bit, step in zip(shrink, steps)]
    x = b.op("Slice", moved(call), begins, ends, b.ints(range(count)), b.ints(steps))
    dropped = [i for i, s in enumerate(shrink) if s]
    give_moved(call, b.op("Squeeze", x, b.ints(dropped)) if dropped else x)


def _cut(call: Call, slices: list[tuple[int, int, int, int]], dropped: list[int], made: list[int]) -> Value:
    b, x = call.builder, moved(call)
    slices = [s for s in slices if s[1:] != (0, _END, 1) and not _is_whole(call.extent(x, s[0]), s)]
    if slices:
        axes, begins, ends, steps = zip(*slices)
        x = b.op("Slice", x, b.ints(begins), b.ints(ends), b.ints(axes), b.ints(steps))
    if dropped:
        x = b.op("Squeeze", x, b.ints(dropped))
    if made:
        x = b.op("Unsqueeze", x, b.ints(made))
    return x


def _is_whole(size: int | None, entry: tuple[int, int, int, int]) -> bool:
    """True where a slice takes all of an axis."""
    _, begin, end, step = entry
    return size is not None and begin == 0 and step == 1 and end >= size
