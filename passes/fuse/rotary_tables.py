"""Where the tables of rotary position embeddings come from: proof that they hold everything twice, and how to cut them.

The natives of the rules `table_...`, and what those of `rotary` share with them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.core import Node, Value
from ...ir.dims import DimLike
from ...ir.infer import content_of
from ...ir.rewrite import ABSENT, native
from ...ir.tensor import Tensor

Dims = tuple[DimLike, ...]
_MAX_TABLE = 1 << 26  # bytes of a constant that is looked at
_MAX_STEPS = 64  # of the way from a table back to where it comes from


def last_dim(shape: Dims | None) -> int:
    """The last dimension, 0 where it is not a number."""
    return shape[-1] if shape and isinstance(shape[-1], int) else 0


def row_window(node: Node) -> tuple[int, int, int] | None:
    """Start, step and length of a Slice with known bounds that only cuts its operand's last axis."""
    x = node.inputs[0]
    size = last_dim(x.shape) if x is not None else 0
    bounds = [content_of(node.input(i)) for i in (1, 2, 3, 4)]
    starts, ends, axes, steps = bounds
    if not size or x is None or starts is None or ends is None or len(starts) != 1 or len(ends) != 1:
        return None
    assert x.shape is not None
    rank = len(x.shape)
    if node.input(3) is not None and (axes is None or len(axes) != 1 or axes[0] not in (-1, rank - 1)):
        return None
    if node.input(3) is None and rank != 1:
        return None
    if node.input(4) is not None and (steps is None or len(steps) != 1):
        return None
    start, end, step = starts[0], ends[0], steps[0] if steps else 1
    if not isinstance(start, int) or not isinstance(end, int) or not isinstance(step, int) or step < 1:
        return None
    taken = range(*slice(start, end, step).indices(size))
    return taken.start, step, len(taken)


def same_shape(a: Dims | None, b: Dims | None) -> bool:
    """True if two shapes are provably the same."""
    return a is not None and b is not None and len(a) == len(b) and all(x is y or x == y for x, y in zip(a, b))


def view_target(own: Dims | None, target: Dims) -> Any:
    """A constant target of a Reshape, ABSENT where the shape is that already, None where it cannot be a constant."""
    if same_shape(own, target):
        return ABSENT
    made: list[int] = []
    for index, dim in enumerate(target):
        if isinstance(dim, int):
            made.append(dim)
        else:
            made.append(0 if own is not None and index < len(own) and own[index] is dim else -1)
    # A literal 0 would be read as "copy", and only one dimension can be worked out.
    if made.count(-1) > 1 or any(isinstance(dim, int) and dim <= 0 for dim in target):
        return None
    return tuple(made)


# Cutting.


@native
def cuts_rows(y: Value) -> bool:
    """True for a Slice along the last axis alone, with known bounds."""
    return y.producer is not None and row_window(y.producer) is not None


@native
def keeps_rows(y: Value) -> bool:
    """True for a Slice along known axes, the last one not among them."""
    node, rank = y.producer, y.rank
    axes = content_of(node.input(3)) if node is not None else None
    return axes is not None and rank is not None and not {-1, rank - 1} & set(axes)


@native
def one_for_all(k: Value) -> bool:
    """True for a value that is the same along the last axis of what it is combined with."""
    return k.shape is not None and (not k.shape or k.shape[-1] == 1)


@native
def part_target(x: Value, y: Value) -> Any:
    """The target of a Reshape to y of the same parts of x's rows."""
    if x.shape is None or y.shape is None:
        return None
    own = (*x.shape[:-1], y.shape[-1])
    target = view_target(own, y.shape)
    return view_target(None, y.shape) if target is ABSENT else target


@native
def part_of(x: Value, y: Value) -> Any:
    """The target of a Reshape of x to y."""
    if y.shape is None:
        return None
    target = view_target(x.shape, y.shape)
    return _copied(y.shape) if target is ABSENT else target


def _copied(shape: Dims) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else 0 for dim in shape)


@native
def cut_like(x: Value, y: Value) -> Tensor | None:
    """A constant whose rows are cut as the Slice y cuts its operand's; None for one too large to copy."""
    window = row_window(y.producer) if y.producer is not None else None
    if window is None or x.const is None or x.const.length > _MAX_TABLE:
        return None
    start, step, count = window
    array: Any = x.const.array()
    return Tensor.from_array(np.ascontiguousarray(array[..., start : start + step * count : step]), x.const.dtype)


@native
def starts_with(y: Value, kept: tuple[Value, ...], last: Value) -> bool:
    """True for a Slice y of a Concat that takes exactly its first operands, `kept` and `last`."""
    window = row_window(y.producer) if y.producer is not None else None
    sizes = [last_dim(value.shape) for value in (*kept, last)]
    return window is not None and all(sizes) and window == (0, 1, sum(sizes))


@native
def one_copy(doubled: Value, x: Value, y: Value) -> bool:
    """True if the Slice y takes one of the two copies of x, as the rows or within the rows of what doubled x."""
    node = y.producer
    window = row_window(node) if node is not None else None
    if node is None or node.inputs[0] is None or window is None or x.shape is None or doubled.shape is None:
        return False
    size, half = last_dim(node.inputs[0].shape), window[2]
    if size != 2 * half:
        return False
    if node.inputs[0] is doubled:
        twice = doubled.producer is not None and doubled.producer.op.key in ("Tile", "Concat")
        return twice and window == (0, 1, half) and same_shape(x.shape, (*doubled.shape[:-1], half))
    if window == (0, 2, half) and _is_copies(doubled, size, True):
        return same_shape(x.shape, (*doubled.shape[:-1], 1))
    return (
        window == (0, 1, half)
        and _is_copies(doubled, size, False)
        and same_shape(x.shape, (*doubled.shape[:-2], 1, half))
    )


# Wide tables.


@native
def wide_end(x: Value, kind: int) -> int:
    """Where the elements of a wide table end that are one for each pair."""
    return last_dim(x.shape) // 2 if kind == 0 else last_dim(x.shape)


@native
def wide_step(kind: int) -> int:
    """From one of these elements to the next."""
    return 1 if kind == 0 else 2


@native
def doubled(wide: Value, kind: int) -> bool:
    """True if a table provably holds everything twice: as two equal halves (kind 0), or as equal neighbours."""
    size = last_dim(wide.shape)
    if size == 0 or size % 2:
        return False
    pairs = kind > 0
    waiting = [wide]
    seen: dict[Value, None] = {}
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen[value] = None
        sources = _sources(value, size, pairs) if len(seen) <= _MAX_STEPS else None
        if sources is None:
            return False
        waiting.extend(sources)
    return True


def _sources(value: Value, size: int, pairs: bool) -> list[Value] | None:
    """The values that must hold everything twice for this one to; None where that is not enough."""
    shape = value.shape
    if shape is None or (shape and shape[-1] != size):
        return [] if shape is not None and shape[-1] == 1 else None  # spread over the whole width
    if not shape:
        return []
    if value.const is not None:
        return [] if _equal_parts(value.const, pairs) else None
    node = value.producer
    if node is None:
        return None
    name = node.op.key
    inputs = [v for v in node.inputs if v is not None]
    last = len(shape) - 1
    if node.op.elementwise:
        return inputs
    if name == "Tile" and not pairs and last_dim(inputs[0].shape) * 2 == size:
        return []
    if name == "Concat":
        if node.attr("axis") not in (-1, last):
            return inputs
        half = len(inputs) // 2
        return [] if not pairs and len(inputs) % 2 == 0 and inputs[:half] == inputs[half:] else None
    if name in ("Reshape", "Unsqueeze", "Squeeze"):
        if last_dim(inputs[0].shape) == size:
            return [inputs[0]]
        return [] if name == "Reshape" and _is_copies(inputs[0], size, pairs) else None
    return _moved(node, inputs, last, size)


def _moved(node: Node, inputs: list[Value], last: int, size: int) -> list[Value] | None:
    """`_sources` of operators that choose or move whole rows."""
    name = node.op.key
    source = inputs[0]
    rank = source.rank
    if rank is None:
        return None
    if name == "Expand" or (name == "Tile" and last_dim(source.shape) == size):
        return [source]
    if name == "Split" and node.attr("axis") not in (-1, last):
        return [source]
    if name == "Gather":
        return [source] if node.attr("axis") not in (-1, rank - 1) else None
    if name == "Slice":
        axes = content_of(node.input(3))
        return [source] if axes is not None and not {-1, last} & set(axes) else None
    if name == "Transpose":
        perm = node.attr("perm")
        return [source] if perm is not None and perm[-1] == last else None
    if name == "MatMul" and inputs[1].rank is not None and inputs[1].rank > 1:
        return [inputs[1]]
    return None


def _is_copies(value: Value, size: int, pairs: bool) -> bool:
    """True for [..., 2, size/2], or [..., size/2, 2] for `pairs`, if both parts along the 2 are the same."""
    shape = value.shape
    half = size // 2
    if shape is None or len(shape) < 2 or shape[-2:] != ((half, 2) if pairs else (2, half)):
        return False
    node = value.producer
    axis = len(shape) - 1 if pairs else len(shape) - 2
    source = node.inputs[0] if node is not None else None
    if node is None or source is None or source.shape is None:
        return False
    if node.op.key == "Concat":
        return node.attr("axis") in (axis, axis - len(shape)) and len(node.inputs) == 2 and node.inputs[1] is source
    if node.op.key in ("Expand", "Tile"):
        from_end = axis - len(shape)
        return len(source.shape) < -from_end or source.shape[from_end] == 1
    return False


def _equal_parts(const: Tensor, pairs: bool) -> bool:
    if const.dtype.kind != "f" or const.length > _MAX_TABLE:
        return False
    if const.splat is not None:
        return True
    array: Any = const.array()
    half = array.shape[-1] // 2
    a, b = (array[..., ::2], array[..., 1::2]) if pairs else (array[..., :half], array[..., half:])
    return bool(np.array_equal(a, b))
