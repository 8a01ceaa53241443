"""The operators that element expressions see through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ...ir.core import Node, Value
from ...ir.dims import Dim, DimLike, floordiv, maximum, mod, product, symbol
from ...ir.infer.base import content_of, ints_at
from ...ir.tensor import Tensor
from ...ir.types import BOOL, F32
from .elements import Expr, Space
from .elements_leaves import fold, number
from .elements_walk import Indices, Steps, aligned, operands

Operator = Callable[[Space, Node, Value, Indices], Steps]
_MAX_PIECES: Final = 4
_FAR_END: Final = (1 << 31) - 1


def _elementwise(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    values, name, dtype = operands(node), node.op.name, out.dtype
    if values is None or out.shape is None or dtype.kind not in "fiub" or not values:
        return None
    if node.attrs and name != "Cast":
        return None
    if name == "CastLike":
        values = values[:1]
    trees = []
    for value in values:
        assert value.shape is not None
        trees.append((yield value, aligned(space, value.shape, out.shape, indices)))
    if name == "Where":
        return space.ite(trees[0], trees[1], trees[2])
    if name == "Not":
        return space.negate(trees[0])
    if values[0].dtype is BOOL and name in _LOGIC:
        a, b = trees
        return {
            "And": lambda: space.ite(a, b, space.false),
            "Or": lambda: space.ite(a, space.true, b),
            "Xor": lambda: space.ite(a, space.negate(b), b),
            "Equal": lambda: space.ite(a, b, space.negate(b)),
        }[name]()
    operator = {"CastLike": "Cast", "Sum": "Add"}.get(name, name)
    if operator == "Cast":
        return space.map(lambda leaf: fold(space, "Cast", dtype, leaf), trees[0])
    if len(trees) == 1:
        if operator not in ("Neg", "Abs"):
            return trees[0] if operator in ("Min", "Max", "Add") else None
        return space.map(lambda leaf: fold(space, operator, dtype, leaf), trees[0])
    total = trees[0]
    for tree in trees[1:]:
        total = space.map(lambda a, b: fold(space, operator, dtype, a, b), total, tree)
    return total


_LOGIC: Final = frozenset(["And", "Or", "Xor", "Equal"])


def _identity(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    assert node.inputs[0] is not None
    return (yield node.inputs[0], indices)


def _reshape(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    source = node.inputs[0]
    if source is None or source.shape is None or out.shape is None:
        return None
    found = _regrouped(source.shape, out.shape, indices)
    return None if found is None else (yield source, found)


def _regrouped(old: Sequence[DimLike], new: Sequence[DimLike], indices: Indices) -> Indices | None:
    """Indices into a tensor of shape `old` that is seen as one of shape `new`."""
    result: list[DimLike] = [0] * len(old)
    if any(isinstance(d, int) and d == 0 for d in (*old, *new)):
        return None
    olds = [(axis, d) for axis, d in enumerate(old) if d != 1]
    news = [(axis, d) for axis, d in enumerate(new) if d != 1]
    at_old = at_new = 0
    while at_old < len(olds) or at_new < len(news):
        group_old, group_new = olds[at_old : at_old + 1], news[at_new : at_new + 1]
        if not group_old or not group_new:
            return None
        at_old, at_new = at_old + 1, at_new + 1
        while True:
            a, b = product([d for _, d in group_old]), product([d for _, d in group_new])
            if a is b or a == b:
                break
            longer_old = len(group_old) <= len(group_new)
            if longer_old and at_old < len(olds):
                group_old, at_old = [*group_old, olds[at_old]], at_old + 1
            elif at_new < len(news):
                group_new, at_new = [*group_new, news[at_new]], at_new + 1
            else:
                return None
        flat: DimLike = 0
        for axis, d in group_new:
            flat = flat * d + indices[axis]
        stride: DimLike = 1
        for position, (axis, d) in reversed(list(enumerate(group_old))):
            rest = flat if isinstance(stride, int) and stride == 1 else floordiv(flat, stride)
            result[axis] = rest if position == 0 else mod(rest, d)
            stride = stride * d
    return tuple(result)


def _transpose(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    source = node.inputs[0]
    assert source is not None
    perm = node.attrs.get("perm") or tuple(reversed(range(len(indices))))
    inner: list[DimLike] = [0] * len(indices)
    for position, axis in enumerate(perm):
        inner[axis] = indices[position]
    return (yield source, tuple(inner))


def _expand(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    source = node.inputs[0]
    if source is None or source.shape is None or out.shape is None:
        return None
    return (yield source, aligned(space, source.shape, out.shape, indices))


def _tile(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    source, repeats = node.inputs[0], ints_at(node, 1)
    if source is None or source.shape is None or repeats is None:
        return None
    inner = [i if r == 1 else mod(i, d) for i, d, r in zip(indices, source.shape, repeats)]
    return (yield source, tuple(inner))


def _constant_of_shape(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    value = node.attrs.get("value")
    yield from ()
    if not isinstance(value, Tensor):
        return number(space, 0, F32)
    return number(space, value.item(), value.dtype) if value.dtype.kind in "fiub" else None


def _range(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    values = operands(node)
    if values is None:
        return None
    start, step = (yield values[0], ()), (yield values[2], ())
    if step.kind not in ("dim", "num") or start.kind == "if":
        return None
    if step.kind == "dim" and start.kind != "num":
        return fold(space, "Add", out.dtype, start, space.dim(indices[0] * step.args[0]))
    if start.kind == "num" and all(float(x).is_integer() for x in (start.args[0], step.args[0])):
        whole = indices[0] * int(step.args[0]) + int(start.args[0])
        return fold(space, "Cast", out.dtype, space.dim(whole))
    return None


def _trilu(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    source, offset = node.inputs[0], node.input(1)
    assert source is not None
    k = space.dim(0)
    if offset is not None:
        k = yield offset, ()
    if k.kind != "dim" or out.dtype.kind not in "fiub":
        return None
    inner = yield source, indices
    above = indices[-1] - indices[-2] - k.args[0]
    kept = space.at_least_zero(above if node.attr("upper") else -above)
    zero = number(space, 0, out.dtype)
    return None if zero is None else space.ite(kept, inner, zero)


def _eye_like(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    yield from ()
    one, zero = number(space, 1, out.dtype), number(space, 0, out.dtype)
    if one is None or zero is None:
        return None
    return space.ite(space.is_zero(indices[1] - indices[0] - node.attr("k")), one, zero)


def _concat(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    values, axis = operands(node), node.attr("axis")
    if values is None:
        return None
    at = indices[axis]
    pieces: list[tuple[Value, DimLike, DimLike]] = []
    start: DimLike = 0
    for value in values:
        assert value.shape is not None
        end = start + value.shape[axis]
        if not space.proves(start - 1 - at) and not space.proves(at - end):
            pieces.append((value, start, end))
        start = end
    if not pieces or len(pieces) > _MAX_PIECES:
        return None
    result: Expr | None = None
    for value, start, end in reversed(pieces):
        piece = yield value, (*indices[:axis], at - start, *indices[axis + 1 :])
        result = piece if result is None else space.ite(space.at_least_zero(end - 1 - at), piece, result)
    return result


def _split(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    source, axis = node.inputs[0], node.attr("axis")
    assert source is not None
    start: DimLike = 0
    for value in node.outputs[: out.index]:
        if value.shape is None:
            return None
        start = start + value.shape[axis]
    return (yield source, (*indices[:axis], indices[axis] + start, *indices[axis + 1 :]))


def _slice(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    source, starts = node.inputs[0], content_of(node.input(1))
    if source is None or source.shape is None or starts is None:
        return None
    axes = ints_at(node, 3) if node.input(3) is not None else tuple(range(len(starts)))
    steps = ints_at(node, 4) if node.input(4) is not None else (1,) * len(starts)
    if axes is None or steps is None:
        return None
    inner = list(indices)
    for axis, start, step in zip(axes, starts, steps):
        first = _first_taken(space, start, step, source.shape[axis])
        if first is None:
            return None
        inner[axis] = inner[axis] * step + first
    return (yield source, tuple(inner))


def _first_taken(space: Space, start: DimLike, step: int, size: DimLike) -> DimLike | None:
    """The index that a slice begins with, where it takes anything at all."""
    if step < 0:
        last = isinstance(start, int) and (start == -1 or start >= _FAR_END)
        return size - 1 if last and step == -1 else None
    if space.proves(start):
        return start
    return maximum(size + start, 0) if space.proves(-1 - start) else None


def _wrapped(space: Space, index: Expr, size: DimLike) -> DimLike | None:
    """An index counted from the front; None if its sign is not known."""
    if index.kind != "dim":
        return None
    at: DimLike = index.args[0]
    if space.proves(at):
        return at
    return at + size if space.proves(-1 - at) else None


def _gather(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    values, axis = operands(node), node.attr("axis")
    if values is None or node.attrs.get("batch_dims"):
        return None
    data, places = values
    assert data.shape is not None and places.shape is not None
    rank = len(places.shape)
    tree = yield places, indices[axis : axis + rank]
    found: dict[Expr, Expr] = {}
    for leaf in _leaves(tree):
        at = _wrapped(space, leaf, data.shape[axis])
        if at is None:
            return None
        found[leaf] = yield data, (*indices[:axis], at, *indices[axis + rank :])
    return space.map(lambda leaf: found[leaf], tree)


def _leaves(tree: Expr) -> list[Expr]:
    """The distinct leaves of a tree."""
    seen: dict[Expr, None] = {}
    stack = [tree]
    while stack:
        item = stack.pop()
        if item.kind == "if":
            stack.extend(item.args[1:])
        else:
            seen[item] = None
    return list(seen)


def _gather_nd(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    values = operands(node)
    if values is None:
        return None
    data, places = values
    assert data.shape is not None and places.shape is not None
    batch, width, rank = node.attr("batch_dims"), places.shape[-1], len(places.shape) - 1
    if not isinstance(width, int):
        return None
    inner = list(indices[:batch])
    for position in range(width):
        index = yield places, (*indices[:rank], position)
        at = _wrapped(space, index, data.shape[batch + position])
        if at is None:
            return None
        inner.append(at)
    return (yield data, (*inner, *indices[rank:]))


def _gather_elements(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    values, axis = operands(node), node.attr("axis")
    if values is None:
        return None
    data, places = values
    assert data.shape is not None
    at = _wrapped(space, (yield places, indices), data.shape[axis])
    return None if at is None else (yield data, (*indices[:axis], at, *indices[axis + 1 :]))


def _scatter_nd(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    """Updates at places that are a grid: each index runs along one axis, shifted, each axis once."""
    values = operands(node)
    if values is None or node.attrs:
        return None
    data, places, updates = values
    assert data.shape is not None and places.shape is not None
    grid, width = places.shape[:-1], places.shape[-1]
    if not isinstance(width, int):
        return None
    names = [symbol(f"\x01g{position}") for position in range(len(grid))]
    at: list[DimLike] = [0 if isinstance(d, int) and d == 1 else n for n, d in zip(names, grid)]
    used: dict[int, DimLike] = {}
    inside = space.true
    for position in range(width):
        index = yield places, (*at, position)
        if index.kind != "dim":
            return None
        place: DimLike = index.args[0]
        if not space.proves(place):
            return None
        axes = [a for a, n in enumerate(names) if _mentions(place, n)]
        mine = indices[position]
        if len(axes) == 1 and axes[0] not in used and not _any_index(place - names[axes[0]]):
            start = mine - (place - names[axes[0]])
            used[axes[0]] = start
            size = grid[axes[0]]
            reach = space.ite(space.at_least_zero(start), space.at_least_zero(size - 1 - start), space.false)
        elif not axes and not _any_index(place):
            reach = space.is_zero(mine - place)
        else:
            return None
        inside = space.ite(reach, inside, space.false)
    if any(axis not in used and d != 1 for axis, d in enumerate(grid)):
        return None
    new = yield updates, (*[used.get(a, 0) for a in range(len(grid))], *indices[width:])
    if inside is space.true:
        return new
    old = yield data, indices
    return space.ite(inside, new, old)


def _mentions(dim: DimLike, name: Dim) -> bool:
    return isinstance(dim, Dim) and any(name.atom in monomial for monomial, _ in dim.terms)


def _any_index(dim: DimLike) -> bool:
    """True if a dimension depends on an index."""
    from ...ir.dims import atoms

    return any(atom.name.startswith("\x01") for atom in atoms(dim))


def _cumsum(space: Space, node: Node, out: Value, indices: Indices) -> Steps:
    source, axes = node.inputs[0], ints_at(node, 1)
    if source is None or axes is None or node.attrs or not out.dtype.is_int or not indices:
        return None
    axis = axes[0]
    anywhere = symbol("\x01c")
    item = yield source, (*indices[:axis], anywhere, *indices[axis + 1 :])
    if item.kind != "dim" or _any_index(item.args[0]):
        return None
    return fold(space, "Mul", out.dtype, item, space.dim(indices[axis] + 1))


OPERATORS: Final[dict[str, Operator]] = {
    **dict.fromkeys(
        ["Add", "Sub", "Mul", "Div", "Mod", "Neg", "Abs", "Min", "Max", "Sum", "Equal", "Less", "LessOrEqual"],
        _elementwise,
    ),
    **dict.fromkeys(
        ["Greater", "GreaterOrEqual", "And", "Or", "Xor", "Not", "Where", "Cast", "CastLike"], _elementwise
    ),
    **dict.fromkeys(["Reshape", "Flatten", "Squeeze", "Unsqueeze"], _reshape),
    "Identity": _identity,
    "Transpose": _transpose,
    "Expand": _expand,
    "Tile": _tile,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Trilu": _trilu,
    "EyeLike": _eye_like,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "GatherElements": _gather_elements,
    "ScatterND": _scatter_nd,
    "CumSum": _cumsum,
}
