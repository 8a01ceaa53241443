"""How labels pass through operators that move elements: joins, slices, reductions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...ir.core import Node, Value, constant
from ...ir.tensor import Array, Tensor, int_tensor
from .follow import NORMED, Axes, Following, Kept, Rule
from .reshaping import reshape, resized


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
        resized(f, node, 1, axes, len(shape) - length[0])
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
        resized(f, node, 3, axes, 0)


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
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), reshape),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceMax"), _reduce),
    "Transpose": _transpose, "Concat": _concat, "Split": _split, "Slice": _slice, "Gather": _gather,
    "Expand": _expand, "Resize": _resize, "Pad": _pad, "Shape": _shape,
}  # fmt: skip
