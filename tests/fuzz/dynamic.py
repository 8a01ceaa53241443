"""Steps around shapes that are computed at run time."""

from __future__ import annotations

import math

import numpy as np

from .graphs import Gen, NoFit, Val
from .kinds import DTYPES, SIZES, Array, Shapes, each
from .movement import ranked


def known(g: Gen, op: str, inputs: list[Val], dtype: str, data: list[Array], **attrs: object) -> Val:
    """A node whose elements are known under every assignment."""
    arrays = tuple(np.asarray(a, DTYPES[dtype][1]) for a in data)
    shapes = tuple(a.shape for a in arrays)
    return g.emit(op, inputs, [(dtype, shapes, len(shapes[0]))], arrays, **attrs)[0]


def shape_of(g: Gen, v: Val) -> Val:
    """Shape, or a part of it."""
    if g.opset >= 15 and v.rank > 1 and g.chance(0.2):
        start, end = g.choose((0, 1, -1)), g.choose((None, v.rank, -1))
        parts = [np.array(s[start:end], np.int64) for s in v.known()]
        return known(g, "Shape", [v], "i64", parts, start=start, end=end)
    return known(g, "Shape", [v], "i64", [np.array(s, np.int64) for s in v.known()])


def shape(g: Gen) -> None:
    """The shape or size of a value."""
    v = g.pick()
    if g.chance(0.7):
        shape_of(g, v)
    else:
        known(g, "Size", [v], "i64", [np.array(math.prod(s), np.int64) for s in v.known()])


def dim_of(g: Gen, v: Val, axis: int) -> Val:
    """One dimension as a tensor of rank 1, in one of the spellings of exporters."""
    whole = known(g, "Shape", [v], "i64", [np.array(s, np.int64) for s in v.known()])
    values = [np.array([s[axis]], np.int64) for s in v.known()]
    style = g.rng.randrange(4)
    if style == 0:
        return known(g, "Gather", [whole, g.ints([axis])], "i64", values, axis=0)
    if style == 1:
        scalar = known(g, "Gather", [whole, g.ints(axis)], "i64", [a.reshape(()) for a in values])
        return raised(g, scalar)
    if style == 2 and g.opset >= 10:
        return known(g, "Slice", [whole, g.ints([axis]), g.ints([axis + 1]), g.ints([0])], "i64", values)
    scalar = known(g, "Gather", [whole, g.ints(axis - v.rank if g.opset >= 11 else axis)], "i64", [a.reshape(()) for a in values])
    if g.chance(0.3):
        scalar = known(g, "Cast", [scalar], "i64", [a.reshape(()) for a in values], to=7)
    return raised(g, scalar)


def raised(g: Gen, scalar: Val) -> Val:
    """A number as a vector of one."""
    assert scalar.data is not None
    values = [a.reshape(1) for a in scalar.data]
    if g.opset < 13:
        return known(g, "Unsqueeze", [scalar], "i64", values, axes=[0])
    if g.chance(0.3):
        return known(g, "Reshape", [scalar, g.ints([-1])], "i64", values)
    return known(g, "Unsqueeze", [scalar, g.ints([0])], "i64", values)


def times(g: Gen, a: Val, b: Val) -> Val:
    assert a.data is not None and b.data is not None
    return known(g, "Mul", [a, b], "i64", [x * y for x, y in zip(a.data, b.data)])


def target_of(g: Gen, v: Val) -> tuple[Val, Shapes]:
    """A shape for a Reshape of v, put together from its dimensions: neighbours merged, ones added, a -1."""
    parts: list[Val] = []
    sizes: list[list[int]] = []
    i, spent = 0, False
    while i < v.rank:
        width = g.rng.choice((1, 1, 1, 2))
        dims = list(range(i, min(i + width, v.rank)))
        size = [math.prod(s[d] for d in dims) for s in v.known()]
        fixed = [v.fixed()[d] for d in dims]
        if not spent and g.chance(0.25):
            parts.append(g.ints([-1]))
            spent = True
        elif None not in fixed and g.chance(0.6):
            parts.append(g.ints([math.prod(d for d in fixed if d is not None)]))
        else:
            part = dim_of(g, v, dims[0])
            for d in dims[1:]:
                part = times(g, part, dim_of(g, v, d))
            parts.append(part)
        sizes.append(size)
        i += width
    if g.chance(0.3):
        parts.append(g.ints([1]))
        sizes.append([1] * SIZES)
    g_shapes = tuple(tuple(size[k] for size in sizes) for k in range(SIZES))
    if len(parts) == 1 and g.chance(0.5):
        return parts[0], g_shapes
    if any(p.data is None for p in parts):
        raise NoFit("unknown")
    data = [np.concatenate([p.data[k].reshape(-1) for p in parts if p.data is not None]) for k in range(SIZES)]
    return known(g, "Concat", parts, "i64", data, axis=0), g_shapes


def reshape_computed(g: Gen) -> None:
    """The Shape, Gather, Unsqueeze, Concat, Reshape of exporters."""
    v = ranked(g, 1, 4)
    if v.is_empty():
        raise NoFit("empty")
    target, shapes = target_of(g, v)
    y = g.one("Reshape", [v, target], v.dtype, shapes)
    if g.chance(0.3):
        back = shape_of_whole(g, v)
        g.one("Reshape", [y, back], v.dtype, v.known())


def shape_of_whole(g: Gen, v: Val) -> Val:
    return known(g, "Shape", [v], "i64", [np.array(s, np.int64) for s in v.known()])


def expand_computed(g: Gen) -> None:
    """Expand to the shape of another value, or to one put together."""
    v = g.pick()
    if g.chance(0.6):
        w = g.pick()
        target = shape_of_whole(g, w)
        g.one("Expand", [v, target], v.dtype, each(np.broadcast_shapes, v.known(), w.known()))
        return
    w = ranked(g, 1, 4)
    size = dim_of(g, w, g.rng.randrange(w.rank))
    assert size.data is not None
    ones = g.ints([1] * v.rank)
    target = known(g, "Concat", [size, ones], "i64", [np.concatenate([a, np.ones(v.rank, np.int64)]) for a in size.data], axis=0)
    g.one("Expand", [v, target], v.dtype, tuple((int(a[0]), *s) for a, s in zip(size.data, v.known())))


def constant_of_shape(g: Gen) -> None:
    """ConstantOfShape of a computed shape."""
    v = ranked(g, 1, 4)
    target = shape_of_whole(g, v)
    dtype = g.choose(("f32", "f32", "i64", "bool", "i32"))
    fill = g._tensor(np.ones(1, DTYPES[dtype][1]), dtype, "") if dtype != "f32" or g.chance(0.5) else None
    g.like("ConstantOfShape", [target], v, dtype, value=fill)


def range_(g: Gen) -> None:
    """Range up to a dimension, compared, added or gathered with."""
    v = ranked(g, 1, 4)
    axis = g.rng.randrange(v.rank)
    whole = shape_of_whole(g, v)
    limit = known(g, "Gather", [whole, g.ints(axis)], "i64", [np.array(s[axis], np.int64) for s in v.known()])
    assert limit.data is not None
    steps = [np.arange(int(a)) for a in limit.data]
    y = known(g, "Range", [g.ints(0), limit, g.ints(1)], "i64", steps)
    if g.chance(0.5):
        shapes = each(lambda s: (s[0], 1), y.known())
        column = g.one("Unsqueeze", [y], "i64", shapes, axes=[1]) if g.opset < 13 else g.one("Unsqueeze", [y, g.ints([1])], "i64", shapes)
        square = each(lambda s: (s[0], s[0]), y.known())
        g.one("Less" if g.chance(0.5) else "Greater", [y, column], "bool", square)


def slice_computed(g: Gen) -> None:
    """Slice up to a dimension of a value."""
    if g.opset < 10:
        raise NoFit("older")
    v = ranked(g, 1, 4)
    axis = g.rng.randrange(v.rank)
    end = dim_of(g, v, axis)
    assert end.data is not None
    style = g.rng.randrange(3)
    if style == 0:
        sizes = [int(a[0]) for a in end.data]
    elif style == 1:
        less = g.choose((1, 1, 2, 3, 4))
        end = known(g, "Sub", [end, g.ints([less])], "i64", [a - less for a in end.data])
        assert end.data is not None
        sizes = [int(a[0]) for a in end.data]
        sizes = [n if n >= 0 else max(0, v.at(k)[axis] + n) for k, n in enumerate(sizes)]
    else:
        end = known(g, "Div", [end, g.ints([2])], "i64", [a // 2 for a in end.data])
        assert end.data is not None
        sizes = [int(a[0]) for a in end.data]
    shapes = tuple((*s[:axis], n, *s[axis + 1 :]) for s, n in zip(v.known(), sizes))
    g.one("Slice", [v, g.ints([0]), end, g.ints([axis])], v.dtype, shapes)


def non_zero(g: Gen) -> None:
    """NonZero and Compress: shapes that depend on elements."""
    v = ranked(g, 1, 3, "f32", "i64", "bool", "i32")
    style = g.rng.randrange(3)
    if style == 0 and v.rank == 1:
        keep = g.like("Greater", [v, g.weight(v.dtype, ())], v, "bool") if v.dtype in ("f32", "i64") else g.like("Cast", [v], v, "bool", to=9)
        g.one("Compress", [v, keep], v.dtype, None, 1, axis=0)
        return
    y = g.one("NonZero", [v], "i64", None, 2)
    if style == 1:
        rows = g.one("Transpose", [y], "i64", None, 2, perm=[1, 0])
        if g.opset >= 11 and not v.is_empty():
            g.one("GatherND", [v, rows], v.dtype, None, 1)
    else:
        g.one("Shape", [y], "i64", ((2,),) * SIZES)


def loose_views(g: Gen) -> None:
    """Views of values whose shape nobody knows."""
    v = g.pick(where=lambda v: v.shapes is None)
    style = g.rng.randrange(4)
    if style == 0:
        g.one("Reshape", [v, g.ints([-1])], v.dtype, None, 1)
    elif style == 1:
        shapes_rank = v.rank + 1
        if g.opset < 13:
            g.one("Unsqueeze", [v], v.dtype, None, shapes_rank, axes=[0])
        else:
            g.one("Unsqueeze", [v, g.ints([0])], v.dtype, None, shapes_rank)
    elif style == 2 and v.rank > 1:
        g.one("Transpose", [v], v.dtype, None, v.rank)
    else:
        whole = g.one("Shape", [v], "i64", ((v.rank,),) * SIZES)
        ones = g.one("ConstantOfShape", [whole], "f32", None, v.rank)
        if v.dtype == "f32":
            g.one("Add", [v, ones], "f32", None, v.rank)


STEPS = [
    (shape, 2.0), (reshape_computed, 5.0), (expand_computed, 2.5), (constant_of_shape, 1.5), (range_, 1.5), (slice_computed, 2.0),
    (non_zero, 1.0), (loose_views, 1.5),
]  # fmt: skip
