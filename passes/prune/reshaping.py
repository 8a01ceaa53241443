"""How labels pass through reshapes: axes become parts of axes, heads of a hidden size or channels of a group."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from ...ir.core import Node
from ...ir.dims import DimLike, exact_div
from .follow import Axes, Following

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


def reshape(f: Following, node: Node) -> None:
    """Rule for Reshape, Flatten, Squeeze and Unsqueeze: an axis that is split is cut along one of its parts."""
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
        resized(f, node, 1, axes, 0)


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


def resized(f: Following, node: Node, operand: int, axes: Axes, offset: int) -> None:
    """Operand `operand` lists the sizes of the axes from `offset` on: those that are cut will change."""
    for axis, labels in enumerate(axes):
        if labels is not None and axis >= offset:
            f.sizes.append((node, operand, axis - offset, labels))
