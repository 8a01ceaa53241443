"""Steps that write the chains which rewrites look for, with the small variations that decide whether they apply."""

from __future__ import annotations

import numpy as np

from .elementwise import partner
from .graphs import Gen, NoFit, Val
from .kinds import DTYPES, broadcast, each
from .layers import batch_norm, follow, image
from .movement import ranked, reshape_to, with_axes


def other_use(g: Gen, v: Val) -> None:
    """Now and then somebody else looks at a value inside a chain."""
    if g.chance(0.12):
        g.like("Neg", [v], v)


def padded(g: Gen) -> None:
    """Pad before a convolution or pooling, and what follows one."""
    v = image(g)
    amounts = [0, 0, g.choose((0, 1, 2)), g.choose((0, 1)), 0, 0, g.choose((0, 1)), g.choose((0, 1, 2))]
    if g.chance(0.08):
        amounts[g.choose((0, 1, 4, 5))] = 1
    shapes = each(lambda s: [amounts[i] + d + amounts[i + 4] for i, d in enumerate(s)], v.known())
    kind = g.rng.randrange(5)
    lowest = (-np.inf, float(np.finfo(np.float32).min)) if kind == 1 else ()
    number = g.choose((0.0, 0.0, 0.0, 1.0, *lowest))
    if g.opset < 11:
        p = g.one("Pad", [v], v.dtype, shapes, pads=amounts, value=float(number), mode=g.choose((None, "constant")))
    else:
        value = g.const(np.asarray(number, np.float32)) if number or g.chance(0.5) else None
        p = g.one("Pad", [v, g.ints(amounts), value], v.dtype, shapes, mode=g.choose((None, None, "constant", "edge")))
    if abs(number) <= 1:
        other_use(g, p)
    else:
        g.scope.values.remove(p)
    channels = p.fixed()[1] or 1
    pads = g.choose((None, None, [1, 1, 1, 1], [1, 0, 0, 1]))
    own = pads or [0, 0, 0, 0]
    spatial = each(lambda s: (*s[:2], s[2] + own[0] + own[2] - 1, s[3] + own[1] + own[3] - 1), p.known())
    if kind == 0:
        g.one("AveragePool", [p], v.dtype, spatial, kernel_shape=[2, 2], pads=pads, count_include_pad=g.choose((None, 1)))
    elif kind == 1:
        y = g.one("MaxPool", [p], v.dtype, spatial, kernel_shape=[2, 2], pads=pads)
        if abs(number) > 1:
            g.scope.values.remove(y)  # a window of nothing but padding
            g.like("Sigmoid", [y], y)
    else:
        w = g.weight(v.dtype, (3, channels, 2, 2))
        shapes = each(lambda s: (s[0], 3, *s[2:]), spatial)
        auto = g.choose((None, "VALID")) if pads is None else None
        follow(g, g.one("Conv", [p, w], v.dtype, shapes, pads=pads, auto_pad=auto))


def transposed(g: Gen) -> None:
    """Transposes around operators that do not mind the layout."""
    v = ranked(g, 2, 4, "f32", "f32", "f64", "i64")
    perm = list(range(v.rank))
    g.rng.shuffle(perm)
    if v.rank == 4 and g.chance(0.6):
        perm = g.choose(([0, 2, 3, 1], [0, 3, 1, 2]))
    y = g.one("Transpose", [v], v.dtype, each(lambda s: [s[p] for p in perm], v.known()), perm=perm)
    other_use(g, y)
    for _ in range(g.rng.choice((1, 1, 2, 3, 4))):
        y = _inside(g, y)
        other_use(g, y)
    if y.rank != len(perm) or g.chance(0.1):
        return
    back = [perm.index(i) for i in range(len(perm))]
    if g.chance(0.1):
        g.rng.shuffle(back)
    g.one("Transpose", [y], y.dtype, each(lambda s: [s[p] for p in back], y.known()), perm=back)


def _inside(g: Gen, y: Val) -> Val:
    kind = g.rng.randrange(10)
    axis = g.rng.randrange(y.rank) if y.rank else 0
    if kind < 2 or y.rank == 0:
        return g.like(g.choose(("Neg", "Abs")), [y], y)
    if kind < 4:
        w = partner(g, y)
        if broadcast(y, w) != y.shapes:
            return y
        return g.like(g.choose(("Add", "Mul", "Sub")), [y, w], y)
    if kind == 4:
        return g.one("Concat", [y, y], y.dtype, each(lambda s: (*s[:axis], 2 * s[axis], *s[axis + 1 :]), y.known()), axis=axis)
    if kind == 5 and y.dtype != "i64":
        return g.like("Softmax", [y], y, axis=axis if g.opset < 11 or g.chance(0.5) else axis - y.rank)
    if kind == 6 and y.dtype == "f32" and not y.is_empty():
        keep = g.chance(0.7)
        shapes = each(lambda s: [1 if i == axis else d for i, d in enumerate(s) if keep or i != axis], y.known())
        if g.opset < 18:
            return g.one("ReduceMean", [y], y.dtype, shapes, axes=[axis], keepdims=int(keep))
        return g.one("ReduceMean", [y, g.ints([axis])], y.dtype, shapes, keepdims=int(keep))
    if kind == 7 and g.opset >= 11:
        pads = [g.choose((0, 1)) for _ in range(2 * y.rank)]
        shapes = each(lambda s: [pads[i] + d + pads[i + y.rank] for i, d in enumerate(s)], y.known())
        return g.one("Pad", [y, g.ints(pads)], y.dtype, shapes)
    if kind == 8 and g.opset >= 10 and y.least(axis) > 1:
        shapes = each(lambda s: (*s[:axis], s[axis] - 1, *s[axis + 1 :]), y.known())
        return g.one("Slice", [y, g.ints([1]), g.ints([2**31 - 1]), g.ints([axis])], y.dtype, shapes)
    if kind == 9 and y.fixed()[axis] == 2:
        shapes = each(lambda s: (*s[:axis], 1, *s[axis + 1 :]), y.known())
        first, second = g.emit("Split", [y], [(y.dtype, shapes, y.rank)] * 2, axis=axis, num_outputs=2 if g.opset >= 18 else None)
        return g.one("Concat", [second, first], y.dtype, y.known(), axis=axis)
    return g.like("Clip", [y], y) if y.dtype == "f32" and g.opset >= 11 else y


def casts(g: Gen) -> None:
    """Chains of casts, lossless and lossy."""
    v = g.pick("f32", "i64", "i32", "u8", "i8", "bool", "f16", "f64", loose=True)
    wider = {
        "f32": ("f64", "f16", "bf16"), "f16": ("f32", "f64"), "f64": ("f32", "f16"), "bool": ("i64", "f32", "u8", "i8", "f16"),
        "u8": ("i32", "f32", "i64", "f16", "i16"), "i8": ("i32", "f32", "i64", "f16"), "i32": ("i64", "f64", "f32"), "i64": ("f64", "i32", "f32"),
        "i16": ("i32", "f32"), "bf16": ("f32",),
    }  # fmt: skip
    first = v
    for _ in range(g.rng.choice((1, 2, 2, 3))):
        to = g.choose(wider[v.dtype])
        v = g.like("Cast", [v], v, to, to=DTYPES[to][0])
        other_use(g, v)
    ints = ("i64", "i32", "i16", "i8", "u8")
    if v.dtype != first.dtype and not (v.dtype in ("f32", "f64", "f16", "bf16") and first.dtype in ints and first.dtype in ("i64", "i32")):
        g.like("Cast", [v], v, first.dtype, to=DTYPES[first.dtype][0])


def projections(g: Gen) -> None:
    """Products with a bias, reshaped or scaled; several from one input."""
    v = ranked(g, 2, 4, "f32")
    inner = v.fixed()[-1]
    if not inner or v.is_empty():
        raise NoFit("not fixed")
    for _ in range(g.rng.choice((1, 1, 2, 3))):
        w = g.weight("f32", (inner, 4))
        y = g.one("MatMul", [v, w], "f32", each(lambda s: (*s[:-1], 4), v.known()))
        other_use(g, y)
        for _ in range(g.rng.choice((1, 1, 2))):
            op = g.choose(("Add", "Add", "Mul", "Sub"))
            b = g.weight("f32", g.choose(((4,), (4,), (1, 4), (), (1,))))
            y = g.one(op, [b, y] if op == "Add" and g.chance(0.5) else [y, b], "f32", broadcast(y, b))
        if v.rank == 2 and g.chance(0.4):
            batch_norm(g, y)
        elif g.chance(0.5):
            leading = [0 if d is None else d for d in y.fixed()[:-1]]
            reshape_to(g, y, [*leading, 2, 2])


def constants(g: Gen) -> None:
    """Work on constants alone, which folds; and constants in a row, which merge."""
    v = g.pick("f32", "i64", "i32", "f64")
    if g.chance(0.5):
        kind = DTYPES[v.dtype][1]
        c = g.weight(v.dtype, (2, 3))
        c = g.one("Transpose", [c], v.dtype, ((3, 2),) * 3, perm=[1, 0])
        c = g.like(g.choose(("Neg", "Abs")), [c], c)
        c = g.like("Mul", [c, g.const(np.asarray(2, kind), v.dtype)], c)
        g.one("ReduceSum", [c], v.dtype, ((),) * 3, keepdims=0)
        g.one("Concat", [c, g.weight(v.dtype, (3, 2))], v.dtype, ((6, 2),) * 3, axis=0)
        return
    op = g.choose(("Add", "Mul"))
    for _ in range(g.rng.choice((2, 2, 3))):
        w = partner(g, v)
        v = g.one(op, [v, w], v.dtype, broadcast(v, w))


def views(g: Gen) -> None:
    """Reshape, Squeeze, Unsqueeze and Flatten in rows, back and forth."""
    v = ranked(g, 1, 4)
    start = v
    if v.is_empty():
        raise NoFit("empty")
    for _ in range(g.rng.choice((2, 2, 3))):
        axis = g.rng.randrange(v.rank + 1)
        kind = g.rng.randrange(4)
        shapes = each(lambda s, axis=axis: (*s[:axis], 1, *s[axis:]), v.known())
        if kind == 0 and v.rank < 5:
            v = g.one("Unsqueeze", [v], v.dtype, shapes, axes=[axis]) if g.opset < 13 else g.one("Unsqueeze", [v, g.ints([axis])], v.dtype, shapes)
        elif kind == 1 and 1 in v.fixed():
            axis = v.fixed().index(1)
            shapes = each(lambda s, axis=axis: s[:axis] + s[axis + 1 :], v.known())
            v = g.one("Squeeze", [v], v.dtype, shapes, axes=[axis]) if g.opset < 13 else g.one("Squeeze", [v, g.ints([axis])], v.dtype, shapes)
        elif kind == 2 and v.rank:
            v = reshape_to(g, v, [-1] if g.chance(0.5) else [0, -1] if v.rank > 1 else [-1, 1])
        else:
            whole = g.emit("Shape", [start], [("i64", ((start.rank,),) * 3, 1)])[0]
            v = g.one("Reshape", [v, whole], v.dtype, start.known())
        other_use(g, v)


def slices(g: Gen) -> None:
    """Slices in a row, along the same and along different axes; Concats in Concats."""
    if g.opset < 10:
        raise NoFit("older")
    v = ranked(g, 1, 4)
    for _ in range(g.rng.choice((2, 2, 3))):
        axis = g.rng.randrange(v.rank)
        if v.least(axis) < 2:
            continue
        start = g.choose((0, 1))
        shapes = each(lambda s, axis=axis, start=start: (*s[:axis], s[axis] - start, *s[axis + 1 :]), v.known())
        step = g.ints([1]) if g.chance(0.4) else None
        named = axis - v.rank if g.chance(0.2) else axis
        v = g.one("Slice", [v, g.ints([start]), g.ints([2**63 - 1]), g.ints([named]), step], v.dtype, shapes)
        other_use(g, v)
    if g.chance(0.4) and v.rank:
        twice = g.one("Concat", [v, v], v.dtype, each(lambda s: (2 * s[0], *s[1:]), v.known()), axis=0)
        g.one("Concat", [v, twice, v], v.dtype, each(lambda s: (4 * s[0], *s[1:]), v.known()), axis=0)


def expanded(g: Gen) -> None:
    """An Expand before an operator that broadcasts anyway."""
    v = g.pick("f32", "i64", "bool")
    w = partner(g, v)
    whole = broadcast(v, w)
    target = g.emit("Shape", [w], [("i64", ((w.rank,),) * 3, 1)])[0]
    e = g.one("Expand", [v, target], v.dtype, whole)
    other_use(g, e)
    if v.dtype == "bool":
        g.one(g.choose(("And", "Or")), [e, w], "bool", whole)
    else:
        g.one(g.choose(("Add", "Mul", "Sub")), [e, w] if g.chance(0.7) else [w, e], v.dtype, whole)


def expanded_twice(g: Gen) -> None:
    """An Expand, and another one to a larger shape."""
    v = ranked(g, 0, 3)
    fixed = v.fixed()
    first = [2 if d == 1 and g.chance(0.5) else 1 if d is None else d for d in fixed]
    if None in fixed:
        raise NoFit("not fixed")
    e = g.one("Expand", [v, g.ints(first)], v.dtype, each(lambda s: np.broadcast_shapes(s, tuple(first)), v.known()))
    other_use(g, e)
    whole = [g.choose((1, 3)), *first]
    g.one("Expand", [e, g.ints(whole)], v.dtype, each(lambda s: np.broadcast_shapes(s, tuple(whole)), e.known()))


def squeezed(g: Gen) -> None:
    """Unsqueeze and Squeeze in a row, of the same and of other axes."""
    v = ranked(g, 0, 3)

    def raised(v: Val, axes: list[int]) -> Val:
        shapes = each(lambda s: np.expand_dims(np.broadcast_to(0, s), axes).shape, v.known())
        return with_axes(g, "Unsqueeze", v, axes, 13, shapes)

    def dropped(v: Val, axes: list[int]) -> Val:
        shapes = each(lambda s: np.squeeze(np.broadcast_to(0, s), tuple(axes)).shape, v.known())
        return with_axes(g, "Squeeze", v, axes, 13, shapes)

    first = sorted(g.rng.sample(range(v.rank + 2), 2))
    u = raised(v, first)
    other_use(g, u)
    kind = g.rng.randrange(4)
    if kind == 0:
        dropped(u, first)
    elif kind == 1:
        dropped(dropped(u, [g.choose(first)]), [0] if 0 in first else [first[0]])
    elif kind == 2:
        raised(u, [g.rng.randrange(u.rank + 1)])
    else:
        dropped(raised(u, [0]), [g.choose((0, first[0] + 1))])


def gemms(g: Gen) -> None:
    """Gemm with what may go into it, and what may not."""
    v = ranked(g, 2, 2, "f32")
    inner = v.fixed()[1]
    if not inner:
        raise NoFit("not fixed")
    shapes = each(lambda s: (s[0], 4), v.known())
    b = g.weight("f32", g.choose(((4,), (4,), (1, 4), ()))) if g.opset < 11 or g.chance(0.6) else None
    alpha, beta = g.choose((None, None, 0.5)), g.choose((None, None, None, 2.0))
    trans = g.chance(0.5)
    w = g.weight("f32", (4, inner) if trans else (inner, 4))
    y = g.one("Gemm", [v, w, b], "f32", shapes, alpha=alpha, beta=beta, transB=int(trans) or None)
    other_use(g, y)
    for _ in range(g.rng.choice((1, 1, 2))):
        op = g.choose(("Add", "Add", "Mul", "Norm"))
        if op == "Norm":
            y = batch_norm(g, y)
        else:
            y = g.like(op, [y, g.weight("f32", g.choose(((4,), (1, 4), (), (1,))))], y)


def joined(g: Gen) -> None:
    """Parts of a value put together again, in order and out of order."""
    v = ranked(g, 1, 3)
    axis = g.rng.randrange(v.rank)
    size = v.fixed()[axis]
    if g.opset < 10 or not size or size < 2:
        raise NoFit("too short")
    cut = g.rng.randrange(1, size)
    parts = []
    for start, end in ((0, cut), (cut, size)):
        shapes = each(lambda s, n=end - start: (*s[:axis], n, *s[axis + 1 :]), v.known())
        bounds = [g.ints([start]), g.ints([end if g.chance(0.6) else 2**31 - 1 if end == size else end]), g.ints([axis])]
        parts.append(g.one("Slice", [v, *bounds], v.dtype, shapes))
    if g.chance(0.2):
        parts.reverse()
    g.one("Concat", parts, v.dtype, v.known(), axis=axis)


def involutions(g: Gen) -> None:
    """Operators that undo themselves or change nothing the second time."""
    v = g.pick("f32", "bool", "i64", loose=True)
    op = "Not" if v.dtype == "bool" else g.choose(("Neg", "Relu", "Abs", "Ceil", "Sign") if v.dtype == "f32" else ("Neg", "Abs"))
    for _ in range(g.rng.choice((2, 2, 3))):
        v = g.like(op, [v], v)
        other_use(g, v)
    if v.dtype == "f32" and g.chance(0.3):
        g.like("Relu", [g.like("Sigmoid", [v], v)], v)


STEPS = [
    (padded, 3.0), (transposed, 5.0), (casts, 3.0), (projections, 4.0), (constants, 3.0), (views, 4.0), (slices, 3.0),
    (expanded, 2.0), (involutions, 1.5), (expanded_twice, 1.0), (squeezed, 2.0), (gemms, 2.0), (joined, 1.5),
]  # fmt: skip
