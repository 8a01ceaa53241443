"""How labels pass through operators that move elements: reshapes that split heads, joins, slices, reductions."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from ...ir.core import Node, Value, constant
from ...ir.dims import DimLike, exact_div
from ...ir.tensor import Array, Tensor, int_tensor
from .follow import NORMED, Axes, Following, Kept, Rule

_PACKED = 3  # queries, keys and values: the most that an axis in front of heads holds


class Factor(NamedTuple):
    """A part of axis `before` of a tensor, which is a part of axis `after` once it is reshaped."""

    size: DimLike
    before: int
    after: int


def factors(before: tuple[DimLike, ...], after: tuple[DimLike, ...]) -> list[Factor]:
    """The common parts of the axes of two shapes of the same elements, outer ones first, ones left out.

    Axes whose parts do not fit together have none: [6, 4] as [4, 6].
    """
    left = 0
    while left < min(len(before), len(after)) and before[left] == after[left]:
        left += 1
    right = 0
    while right < min(len(before), len(after)) - left and before[-1 - right] == after[-1 - right]:
        right += 1
    found = [Factor(size, axis, axis) for axis, size in enumerate(before[:left])]
    a = [(size, axis) for axis, size in enumerate(before) if left <= axis < len(before) - right and size != 1]
    b = [(size, axis) for axis, size in enumerate(after) if left <= axis < len(after) - right and size != 1]
    found += _common(a, b) or []
    for back in range(right, 0, -1):
        found.append(Factor(before[-back], len(before) - back, len(after) - back))
    return [factor for factor in found if factor.size != 1]


def _common(a: list[tuple[DimLike, int]], b: list[tuple[DimLike, int]]) -> list[Factor] | None:
    """None where parts do not fit."""
    a, b = a[::-1], b[::-1]
    found = []
    while a and b:
        (one, i), (other, j) = a.pop(), b.pop()
        if one == other:
            part: DimLike = one
        elif (rest := exact_div(one, other)) is not None:
            part = other
            a.append((rest, i))
        elif (rest := exact_div(other, one)) is not None:
            part = one
            b.append((rest, j))
        else:
            return None
        found.append(Factor(part, i, j))
    return None if a or b else found


def _reshape(f: Following, node: Node) -> None:
    x, y = node.inputs[0], node.output
    if x is None or x.shape is None or y.shape is None:
        f.fix_all(node, "a shape that is not known")
        return
    parts = factors(x.shape, y.shape)
    axes: Axes = [None] * len(y.shape)
    taken: set[int] = set()  # axes of the result that have labels or parts of axes with labels
    for axis, labels in enumerate(f.of_all(x)):
        if labels is None:
            continue
        own = [part for part in parts if part.before == axis]
        part = _cut_part(own, axis, x.shape, y.shape)
        others = [] if part is None else [p for p in parts if p.after == part.after]
        before, after = _numbers(own), _numbers(others)
        if part is None or part.after in taken or before is None or after is None:
            f.fix(labels, node, "its axis becomes parts that cannot be cut")
            continue
        taken.add(part.after)
        place, where = own.index(part), others.index(part)
        rows = np.moveaxis(labels.reshape(before), place, 0).reshape(before[place], -1)
        f.labels.unite_rows(rows)
        axes[part.after] = np.tile(np.repeat(rows[:, 0], prod(after[where + 1 :])), prod(after[:where]))
    f.set(y, axes)
    if node.op.key == "Reshape":
        _resized(f, node, 1, axes, 0)


def _numbers(parts: list[Factor]) -> list[int] | None:
    """Their sizes, where all are known."""
    found = [part.size for part in parts if isinstance(part.size, int)]
    return found if len(found) == len(parts) else None


def _cut_part(own: list[Factor], axis: int, before: tuple[DimLike, ...], after: tuple[DimLike, ...]) -> Factor | None:
    """Which part of an axis is cut: of [heads, size] the heads, of [3, heads, size] as well, of shuffled channels the
    channels of a group."""
    if len(own) == 2 and axis == 1 and len(before) == 4 and len(after) == 5:
        return own[1]
    if len(own) > 2 and isinstance(own[0].size, int) and own[0].size <= _PACKED:
        return own[1]
    return own[0] if own else None


def _resized(f: Following, node: Node, operand: int, axes: Axes, offset: int) -> None:
    """Operand `operand` lists the sizes of the axes from `offset` on: those that are cut will change."""
    for axis, labels in enumerate(axes):
        if labels is not None and axis >= offset:
            f.sizes.append((node, operand, axis - offset, labels))


def _transpose(f: Following, node: Node) -> None:
    axes = f.of_all(node.inputs[0])
    perm = node.attr("perm") or tuple(range(len(axes)))[::-1]
    f.set(node.output, [axes[axis] for axis in perm])


def _concat(f: Following, node: Node) -> None:
    along = node.attr("axis")
    rank = node.output.rank
    if rank is None:
        f.fix_all(node, "values of unknown rank")
        return
    given = [value for value in node.inputs if value is not None]
    axes: Axes = [None] * rank
    for axis in range(rank):
        of = [f.of(value, axis) for value in given]
        base = next((labels for labels in of if labels is not None), None)
        if base is None:
            continue
        if axis == along % rank:
            axes[axis] = _joined(f, node, given, axis)
            continue
        for index, (value, labels) in enumerate(zip(given, of)):
            if value.const is not None:
                f.cut(node, index, axis, base)
            else:
                f.join(node, base, labels)
        axes[axis] = base
    f.set(node.output, axes)


def _joined(f: Following, node: Node, given: list[Value], axis: int) -> Array | None:
    """Labels of values one behind the other; what cannot be cut has fixed ones."""
    parts = []
    for value in given:
        labels, size = f.of(value, axis), value.shape[axis] if value.shape is not None else None
        if labels is None and isinstance(size, int):
            labels = f.labels.fresh(size, node)
            f.fix(labels, node, "a part of what is joined cannot be cut")
        if labels is None:
            f.fix_all(node, "values of unknown sizes are joined")
            return None
        parts.append(labels)
    return np.concatenate(parts)


def _split(f: Following, node: Node) -> None:
    x, along = node.inputs[0], node.attr("axis")
    axes = f.of_all(x)
    labels = axes[along] if axes else None
    given = [value.shape[along] if value.shape is not None else None for value in node.outputs]
    sizes = [size for size in given if isinstance(size, int)]
    parts: list[Array | None] = [None] * len(given)
    if labels is not None and len(sizes) == len(given):
        found = np.split(labels, np.cumsum(np.array(sizes))[:-1])
        parts = list(found)

        def resplit(kept: Kept) -> None:
            new = constant(int_tensor([len(kept(part)) for part in found]))
            node.set_inputs([node.inputs[0], new])
            node.attrs.pop("num_outputs", None)

        f.changes.append((labels, resplit))
    else:
        f.fix(labels, node, "parts of unknown sizes")
    for value, part in zip(node.outputs, parts):
        f.set(value, [part if axis == along % len(axes) else other for axis, other in enumerate(axes)])


def _slice(f: Following, node: Node) -> None:
    axes = list(f.of_all(node.inputs[0]))
    if not any(labels is not None for labels in axes):
        return
    starts, ends, along, steps = (_ints(node.input(index)) for index in (1, 2, 3, 4))
    if node.input(3) is None:
        count = node.inputs[1].shape if node.inputs[1] is not None else None
        along = tuple(range(count[0])) if count and isinstance(count[0], int) else None
    if along is None:
        f.fix_all(node, "a slice along unknown axes")
        return
    for place, axis in enumerate(along):
        labels = axes[axis]
        if labels is None:
            continue
        if starts is None or ends is None or (node.input(4) is not None and (steps is None or steps[place] != 1)):
            f.fix(labels, node, "a slice with steps, or between computed ends")
            axes[axis] = None
            continue
        low, high, _ = slice(starts[place], ends[place]).indices(len(labels))
        axes[axis] = labels[low:high]
        f.changes.append((labels, _Sliced(node, place, labels, low, high).change))
    f.set(node.output, axes)


class _Sliced(NamedTuple):
    """A slice of an axis whose places move when it is cut."""

    node: Node
    place: int
    labels: Array
    low: int
    high: int

    def change(self, kept: Kept) -> None:
        """Let it begin and end at what is left of what it began and ended at."""
        for operand, end in ((1, self.low), (2, self.high)):
            value = self.node.inputs[operand]
            assert value is not None and value.const is not None
            array = value.const.array().copy()
            array[self.place] = len(kept(self.labels[:end]))
            self.node.set_input(operand, constant(Tensor.from_array(array, value.const.dtype), value.hint))


def _gather(f: Following, node: Node) -> None:
    data, indices = node.inputs
    assert data is not None and indices is not None
    if data.rank is None or indices.rank is None:
        f.fix_all(node, "values of unknown rank")
        return
    along = node.attr("axis") % data.rank
    axes = list(f.of_all(data))
    f.fix(axes[along], node, "elements are picked along it")
    if data.const is not None and data.dtype is not None and data.dtype.is_float:
        for axis, size in enumerate(data.const.shape):
            if axis > along and size > 1:  # a table of vectors
                made = f.labels.fresh(size, node)
                f.cut(node, 0, axis, made)
                axes[axis] = made
    f.set(node.output, [*axes[:along], *f.of_all(indices), *axes[along + 1 :]])


def _expand(f: Following, node: Node) -> None:
    x, shape = node.inputs[0], node.output.shape
    if x is None or x.shape is None or shape is None or node.inputs[1] is None:
        f.fix_all(node, "values of unknown rank")
        return
    given = f.of_all(x)
    before: Axes = [None] * (len(shape) - len(given))
    axes = [*before, *given]
    for axis, size in enumerate(x.shape):
        if x.const is not None and x.const.dtype.is_float and isinstance(size, int) and size > 1:
            made = f.labels.fresh(size, node)
            f.cut(node, 0, axis, made)
            axes[axis - len(given)] = made
    f.set(node.output, axes)
    length = node.inputs[1].shape
    if length and isinstance(length[0], int):
        _resized(f, node, 1, axes, len(shape) - length[0])
    else:
        f.fix_all(node, "a shape of unknown length")


def _resize(f: Following, node: Node) -> None:
    x, y = node.inputs[0], node.output
    if x is None or x.shape is None or y.shape is None or node.attrs.get("axes") is not None:
        f.fix_all(node, "it is resized along axes that are not known")
        return
    axes: Axes = []
    for labels, before, after in zip(f.of_all(x), x.shape, y.shape):
        if labels is not None and before != after:
            f.fix(labels, node, "it is resized")
            labels = None
        axes.append(labels)
    f.set(y, axes)
    if node.input(3) is not None:
        _resized(f, node, 3, axes, 0)


def _pad(f: Following, node: Node) -> None:
    axes, pads = list(f.of_all(node.inputs[0])), _ints(node.input(1))
    along = _ints(node.input(3)) if node.input(3) is not None else tuple(range(len(axes)))
    for axis, labels in enumerate(axes):
        if labels is None or (along is not None and axis not in along):
            continue
        place = along.index(axis) if along is not None else 0
        if pads is None or along is None or pads[place] or pads[place + len(along)]:
            f.fix(labels, node, "it is padded")
            axes[axis] = None
    f.set(node.output, axes)


def _reduce(f: Following, node: Node) -> None:
    x = node.inputs[0]
    axes: Axes = list(f.of_all(x))
    along = _ints(node.input(1))
    if node.input(1) is None:
        along = () if node.attr("noop_with_empty_axes") else tuple(range(len(axes)))
    if along is None:
        f.fix_all(node, "a reduction along unknown axes")
        return
    for axis in along:
        labels = axes[axis] if axes else None
        if labels is not None:
            f.labels.mark(labels, NORMED)
            axes[axis] = None
    if not node.attr("keepdims"):
        axes = [part for axis, part in enumerate(axes) if axis not in along]
    f.set(node.output, axes)


def _shape(f: Following, node: Node) -> None:
    """Sizes follow what is cut by themselves; who computes something else with them must not be surprised."""
    first, last, _ = slice(node.attr("start") or 0, node.attr("end")).indices(len(f.of_all(node.inputs[0])))
    for axis, labels in enumerate(f.of_all(node.inputs[0])):
        if labels is None or not first <= axis < last:
            continue
        for user in node.output.users:
            picked = _ints(user.input(1)) if user.op.key == "Gather" and user.inputs[0] is node.output else None
            if picked is None or any(index % (last - first) + first == axis for index in picked):
                f.fix(labels, node, "something is computed with its size")


def _ints(value: Value | None) -> tuple[int, ...] | None:
    return None if value is None or value.const is None else value.const.ints()


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceMax"), _reduce),
    "Transpose": _transpose, "Concat": _concat, "Split": _split, "Slice": _slice, "Gather": _gather,
    "Expand": _expand, "Resize": _resize, "Pad": _pad, "Shape": _shape,
}  # fmt: skip
