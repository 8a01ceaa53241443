"""Steps that arrange, repeat, select and join elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .graphs import FLOATS, NUMBERS, Gen, NoFit, Val
from .kinds import DTYPES, Shape, each


def ranked(g: Gen, least: int, most: int = 6, *dtypes: str) -> Val:
    return g.pick(*dtypes, where=lambda v: least <= v.rank <= most)


def axis_of(g: Gen, v: Val) -> int:
    """An axis, as it may be counted from the end."""
    axis = g.rng.randrange(v.rank)
    return axis - v.rank if g.chance(0.3) else axis


def reshape(g: Gen) -> None:
    """Reshape by constants: numbers, one -1, zeros that copy."""
    v = g.pick()
    if v.is_empty():
        raise NoFit("empty")
    target: list[int] = []
    fixed = v.fixed()
    if v.is_fixed() and g.chance(0.5):
        count = math.prod(v.at(0))
        while count > 1 and len(target) < 4:
            divisors = [d for d in range(1, count + 1) if count % d == 0]
            target.append(g.rng.choice(divisors))
            count //= target[-1]
        target.append(count)
        g.rng.shuffle(target)
        if g.chance(0.4):
            target[g.rng.randrange(len(target))] = -1
    else:
        # Neighbours are merged; what no number names is copied in its place, or is the -1.
        i = 0
        while i < v.rank:
            width = g.rng.choice((1, 1, 2, 3))
            part = fixed[i : i + width]
            if width == 1 and part[0] is None and i == len(target) and g.chance(0.7):
                target.append(0)
            elif None in part:
                target.append(-1)
            else:
                target.append(math.prod(d for d in part if d is not None))
            i += width
        for _ in range(g.rng.choice((0, 0, 1))):
            target.insert(g.rng.randrange(len(target) + 1), 1)
        if target.count(-1) > 1:
            raise NoFit("two unknowns")
    reshape_to(g, v, target)


def reshape_to(g: Gen, v: Val, target: Sequence[int]) -> Val:
    """A Reshape whose target is a constant."""

    def shape(s: Shape) -> list[int]:
        filled = [s[i] if d == 0 else d for i, d in enumerate(target)]
        if -1 in filled:
            rest = math.prod(d for d in filled if d != -1)
            if rest == 0 or math.prod(s) % rest:
                raise ValueError("does not divide")
            filled[filled.index(-1)] = math.prod(s) // rest
        if math.prod(filled) != math.prod(s):
            raise ValueError("another size")
        return filled

    return g.one("Reshape", [v, g.ints(list(target))], v.dtype, each(shape, v.known()))


def transpose(g: Gen) -> None:
    """Transpose, by default or by a permutation."""
    v = ranked(g, 2, 5)
    perm = list(range(v.rank))
    g.rng.shuffle(perm)
    if g.chance(0.15):
        g.one("Transpose", [v], v.dtype, each(lambda s: s[::-1], v.known()))
    else:
        g.one("Transpose", [v], v.dtype, each(lambda s: [s[p] for p in perm], v.known()), perm=perm)


def with_axes(g: Gen, op: str, v: Val, axes: list[int] | None, since: int, shapes: tuple[Shape, ...], **attrs: int) -> Val:
    """An operator whose axes are an attribute before an opset and an operand since."""
    if g.opset < since:
        return g.one(op, [v], v.dtype, shapes, axes=axes, **attrs)
    return g.one(op, [v] if axes is None else [v, g.ints(axes)], v.dtype, shapes, **attrs)


def unsqueeze(g: Gen) -> None:
    """Unsqueeze at one or more places."""
    v = ranked(g, 0, 4)
    count = g.rng.choice((1, 1, 2))
    axes = g.rng.sample(range(v.rank + count), count)
    if g.opset >= 11 and g.chance(0.3):
        axes = [a - v.rank - count for a in axes]
    else:
        axes = axes if g.chance(0.5) else sorted(axes)
    with_axes(g, "Unsqueeze", v, axes, 13, each(lambda s: np.expand_dims(np.broadcast_to(0, s), axes).shape, v.known()))


def squeeze(g: Gen) -> None:
    """Squeeze axes of length one, all of them where none are named."""
    v = ranked(g, 1, 6)
    ones = [i for i, d in enumerate(v.fixed()) if d == 1]
    if not ones:
        raise NoFit("no ones")
    axes = g.rng.sample(ones, g.rng.randrange(1, len(ones) + 1))
    if len(ones) == len(axes) and all(s.count(1) == len(ones) for s in v.known()) and g.chance(0.3):
        with_axes(g, "Squeeze", v, None, 13, each(lambda s: [d for d in s if d != 1], v.known()))
        return
    shapes = each(lambda s: [d for i, d in enumerate(s) if i not in axes], v.known())
    if g.opset >= 11 and g.chance(0.3):
        axes = [a - v.rank for a in axes]
    with_axes(g, "Squeeze", v, axes, 13, shapes)


def flatten(g: Gen) -> None:
    """Flatten at any axis."""
    v = g.pick()
    axis = g.rng.randrange(v.rank + 1)
    shapes = each(lambda s: (math.prod(s[:axis]), math.prod(s[axis:])), v.known())
    g.one("Flatten", [v], v.dtype, shapes, axis=axis - v.rank if g.opset >= 11 and g.chance(0.2) and axis < v.rank else axis)


def expand(g: Gen) -> None:
    """Expand by constants: larger rank, ones repeated, ones in the target."""
    v = g.pick()
    fixed = v.fixed()
    target = [g.rng.choice((1, 2, 3)) if d == 1 else (1 if d is None or g.chance(0.3) else d) for d in fixed]
    target = [g.rng.choice((1, 2)) for _ in range(g.rng.choice((0, 0, 1)))] + target[g.rng.choice((0, 0, 1)) :]
    g.one("Expand", [v, g.ints(target)], v.dtype, each(lambda s: np.broadcast_shapes(s, tuple(target)), v.known()))


def tile(g: Gen) -> None:
    """Tile, often by ones."""
    v = ranked(g, 1, 4)
    repeats = [g.rng.choice((1, 1, 2, 3)) for _ in range(v.rank)]
    g.one("Tile", [v, g.ints(repeats)], v.dtype, each(lambda s: [d * r for d, r in zip(s, repeats)], v.known()))


def slice_(g: Gen) -> None:
    """Slice with bounds in and out of range, backwards, by steps."""
    v = ranked(g, 1, 5)
    count = g.rng.randrange(1, min(v.rank, 3) + 1)
    axes = g.rng.sample(range(v.rank), count)
    starts, ends, steps = [], [], []
    for axis in axes:
        size = v.at(0)[axis]
        back = g.opset >= 10 and g.chance(0.25)
        starts.append(g.choose((0, 0, 1, -2, size - 1, 2**31 - 1 if back else 0, -size)))
        ends.append(g.choose((size, 2**63 - 1, -1, 2, 1)) if not back else g.choose((-(2**31), 0, -size - 1)))
        steps.append(g.choose((-1, -1, -2)) if back else g.choose((1, 1, 2)) if g.opset >= 10 else 1)

    def shape(s: Shape) -> list[int]:
        dims = list(s)
        for axis, start, end, step in zip(axes, starts, ends, steps):
            dims[axis] = _length(s[axis], start, end, step)
        return dims

    shapes = each(shape, v.known())
    if g.chance(0.8) and any(0 in s for s in shapes):
        raise NoFit("empty")
    if g.opset >= 10 and g.chance(0.3):
        named = [a - v.rank for a in axes]
    else:
        named = axes
    if g.opset < 10:
        g.one("Slice", [v], v.dtype, shapes, starts=starts, ends=ends, axes=axes)
        return
    operands = [v, g.ints(starts), g.ints(ends), g.ints(named)]
    if any(s != 1 for s in steps) or g.chance(0.5):
        operands.append(g.ints(steps))
    g.one("Slice", operands, v.dtype, shapes)


def _length(size: int, start: int, end: int, step: int) -> int:
    start, end = (n + size if n < 0 else n for n in (start, end))
    if step > 0:
        start, end = min(max(start, 0), size), min(max(end, 0), size)
        return max(0, -(-(end - start) // step))
    start, end = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
    return max(0, -(-(start - end) // -step))


def gather(g: Gen) -> None:
    """Gather by constant or given indices, scalars among them."""
    v = ranked(g, 1, 4)
    axis = axis_of(g, v)
    if v.dtype == "str":
        axis %= v.rank  # onnxruntime loses strings along axes counted from the end
    size = v.least(axis)
    if size == 0:
        raise NoFit("empty")
    low = -size if g.opset >= 11 else 0
    dims = g.choose(((), (), (1,), (2,), (3,), (2, 2)))
    dtype = g.choose(("i64", "i64", "i32"))
    if g.chance(0.75):
        indices = g.weight(dtype, dims, low=low, high=size)
    else:
        indices = g.new_input(dtype, [g.dim() for _ in dims], low=low, high=size)
    at = axis % v.rank
    shapes = each(lambda s, t: s[:at] + t + s[at + 1 :], v.known(), indices.known())
    g.one("Gather", [v, indices], v.dtype, shapes, axis=axis if axis or g.chance(0.5) else None)


def gather_elements(g: Gen) -> None:
    """GatherElements and its counterpart that writes."""
    v = ranked(g, 1, 3)
    axis = axis_of(g, v)
    if v.is_empty() or not v.is_fixed():
        raise NoFit("not fixed")
    size = v.at(0)[axis]
    indices = g.weight("i64", v.at(0), low=-size, high=size)
    if g.chance(0.6):
        g.like("GatherElements", [v, indices], v, axis=axis)
        return
    each_once = np.argsort(g.np_rng.random(v.at(0)), axis=axis)
    g.like("ScatterElements", [v, g.const(each_once), g.weight(v.dtype, v.at(0))], v, axis=axis)


def gather_nd(g: Gen) -> None:
    """GatherND by constant indices."""
    v = ranked(g, 1, 4)
    if v.is_empty():
        raise NoFit("empty")
    depth = g.rng.randrange(1, v.rank + 1)
    count = g.rng.choice((1, 2, 3))
    columns = [g.np_rng.integers(0, v.least(i), (count, 1)) for i in range(depth)]
    indices = g.const(np.concatenate(columns, axis=1).astype(np.int64))
    g.one("GatherND", [v, indices], v.dtype, each(lambda s: (count, *s[depth:]), v.known()))


def scatter_nd(g: Gen) -> None:
    """ScatterND by constant indices, each once."""
    v = ranked(g, 1, 3)
    if v.is_empty():
        raise NoFit("empty")
    rows = g.np_rng.permutation(v.least(0))[: g.rng.choice((1, 2, 3))].reshape(-1, 1).astype(np.int64)
    rest = v.fixed()[1:]
    if None in rest:
        raise NoFit("not fixed")
    updates = g.weight(v.dtype, (len(rows), *(d or 0 for d in rest)))
    g.like("ScatterND", [v, g.const(rows), updates], v)


def concat(g: Gen) -> None:
    """Concat of one to four values that agree but along the axis."""
    v = ranked(g, 1, 4)
    axis = axis_of(g, v)
    at = axis % v.rank
    parts = [v]
    for _ in range(g.rng.choice((0, 1, 1, 2, 3))):
        fitting = [
            w for w in g.visible()
            if w.dtype == v.dtype and w.shapes is not None and w.rank == v.rank
            and all(a[:at] + a[at + 1 :] == b[:at] + b[at + 1 :] for a, b in zip(v.known(), w.known()))
        ]  # fmt: skip
        rest = [d for i, d in enumerate(v.fixed()) if i != at]
        if None not in rest and g.chance(0.4):
            dims = [g.rng.choice((1, 2)) if i == at else int(d or 0) for i, d in enumerate(v.fixed())]
            fitting = [g.weight(v.dtype, dims)]
        parts.append(g.rng.choice(fitting))
    g.rng.shuffle(parts)
    shapes = each(lambda *s: s[0][:at] + (sum(t[at] for t in s),) + s[0][at + 1 :], *(p.known() for p in parts))
    g.one("Concat", parts, v.dtype, shapes, axis=axis)


def split(g: Gen) -> None:
    """Split in equal parts or by sizes; sometimes joined again."""
    v = ranked(g, 1, 4)
    axis = axis_of(g, v)
    at = axis % v.rank
    size = v.fixed()[at]
    if not size:
        raise NoFit("not fixed")
    count = g.rng.randrange(1, min(size, 4) + 1)
    if size % count == 0 and g.chance(0.5):
        sizes = [size // count] * count
        equal = True
    else:
        cuts = sorted(g.rng.sample(range(1, size), count - 1))
        sizes = [b - a for a, b in zip([0, *cuts], [*cuts, size])]
        equal = False
    outputs = [(v.dtype, each(lambda s, n=n: s[:at] + (n,) + s[at + 1 :], v.known()), v.rank) for n in sizes]
    if g.opset < 13:
        parts = g.emit("Split", [v], outputs, axis=axis, split=None if equal and g.chance(0.5) else sizes)
    elif equal and g.chance(0.6):
        parts = g.emit("Split", [v], outputs, axis=axis, num_outputs=count if g.opset >= 18 else None)
    else:
        parts = g.emit("Split", [v, g.ints(sizes)], outputs, axis=axis)
    if g.chance(0.2):
        g.one("Concat", parts, v.dtype, v.known(), axis=axis)


def pad(g: Gen) -> None:
    """Pad in every mode, negative amounts among them; constants as attribute or operand."""
    v = ranked(g, 1, 4, *FLOATS, "i64", "i32", "u8", "bool")
    mode = g.choose(("constant", "constant", "reflect", "edge", "wrap") if g.opset >= 19 else ("constant", "constant", "reflect", "edge"))
    before = [g.rng.choice((0, 0, 1, 2)) for _ in range(v.rank)]
    after = [g.rng.choice((0, 0, 1, 2)) for _ in range(v.rank)]
    if v.is_empty():
        raise NoFit("empty")
    for i in range(v.rank):
        if mode != "constant":
            before[i], after[i] = min(before[i], v.least(i) - 1), min(after[i], v.least(i) - 1)
        elif v.least(i) > 2 and g.chance(0.1):
            before[i] = -1
    if g.chance(0.1):
        before, after = [0] * v.rank, [0] * v.rank
    shapes = each(lambda s: [b + d + a for b, d, a in zip(before, s, after)], v.known())
    named = mode if mode != "constant" or g.chance(0.3) else None
    if g.opset < 11:
        if v.dtype not in FLOATS:
            raise NoFit("floats only")
        g.one("Pad", [v], v.dtype, shapes, pads=before + after, mode=named, value=g.choose((None, 0.5)))
        return
    value = g.weight(v.dtype, ()) if mode == "constant" and g.chance(0.5) else None
    operands = [v, g.ints(before + after), value]
    if g.opset >= 18 and g.chance(0.3):
        axes = g.rng.sample(range(v.rank), v.rank)
        if g.chance(0.5):
            axes = [a for a in axes if before[a] or after[a]] or [0]
        operands[1] = g.ints([before[a] for a in axes] + [after[a] for a in axes])
        operands.append(g.ints([a - v.rank if g.chance(0.3) else a for a in axes]))
    g.one("Pad", operands, v.dtype, shapes, mode=named)


def blocks(g: Gen) -> None:
    """DepthToSpace and SpaceToDepth."""
    v = ranked(g, 4, 4, *NUMBERS)
    fixed = v.fixed()
    if g.chance(0.5):
        if not fixed[1] or fixed[1] % 4:
            v = g.new_input("f32", [g.dim(), 8, 3, 2])
        mode = g.choose((None, "CRD")) if g.opset >= 11 else None
        g.one("DepthToSpace", [v], v.dtype, each(lambda s: (s[0], s[1] // 4, s[2] * 2, s[3] * 2), v.known()), blocksize=2, mode=mode)
        return
    if any(not d or d % 2 for d in fixed[2:]):
        v = g.new_input("f32", [g.dim(), 2, 4, 6])
    g.one("SpaceToDepth", [v], v.dtype, each(lambda s: (s[0], s[1] * 4, s[2] // 2, s[3] // 2), v.known()), blocksize=2)


def trilu(g: Gen) -> None:
    """Trilu with or without an offset."""
    v = ranked(g, 2, 4, *NUMBERS, "bool")
    k = g.const(np.asarray(g.choose((-1, 0, 1, 2)), np.int64)) if g.chance(0.5) else None
    g.like("Trilu", [v, k], v, upper=g.choose((None, 0)))


def one_hot(g: Gen) -> None:
    """OneHot of given indices."""
    v = g.new_input("i64", [g.dim()], low=0, high=4)
    shapes = each(lambda s: (*s, 4), v.known())
    g.one("OneHot", [v, g.const(np.asarray(4, np.int64)), g.weight("f32", (2,))], "f32", shapes)


def cumsum(g: Gen) -> None:
    """CumSum in both directions."""
    v = ranked(g, 1, 4, "f32", "f64", "i32", "i64")
    axis = g.const(np.asarray(axis_of(g, v), np.int64))
    g.like("CumSum", [v, axis], v, exclusive=g.choose((None, 1)), reverse=g.choose((None, 1)))


def sequence(g: Gen) -> None:
    """A sequence put together and taken apart."""
    v = g.pick("f32", "i64")
    parts = [v] if g.chance(0.5) else [v, g.like("Identity", [v], v)]
    listed = g.emit("SequenceConstruct", parts, [("seq", None, 0)])[0]
    g.scope.values.remove(listed)
    at = g.const(np.asarray(g.choose((0, -1)), np.int64))
    g.like("SequenceAt", [listed, at], v)


def eye(g: Gen) -> None:
    """EyeLike."""
    v = ranked(g, 2, 2, "f32", "i64", "f64")
    attrs = {"dtype": DTYPES[v.dtype][0]} if g.chance(0.5) else {}
    g.emit("EyeLike", [v], [(v.dtype, v.shapes, 2)], k=g.choose((None, 1)), **attrs)


def einsum(g: Gen) -> None:
    """A few equations of Einsum."""
    v = ranked(g, 2, 4, "f32", "f64")
    letters = "abcd"[: v.rank]
    kind = g.rng.randrange(3)
    if kind == 0:
        order = list(range(v.rank))
        g.rng.shuffle(order)
        to = "".join(letters[i] for i in order)
        g.one("Einsum", [v], v.dtype, each(lambda s: [s[i] for i in order], v.known()), equation=f"{letters}->{to}")
        return
    inner = v.fixed()[-1]
    if not inner:
        raise NoFit("not fixed")
    w = g.weight(v.dtype, (inner, 3))
    shapes = each(lambda s: (*s[:-1], 3), v.known())
    g.one("Einsum", [v, w], v.dtype, shapes, equation=f"{letters},{letters[-1]}z->{letters[:-1]}z")


STEPS = [
    (reshape, 6.0), (transpose, 5.0), (unsqueeze, 3.0), (squeeze, 3.0), (flatten, 2.0), (expand, 3.0), (tile, 1.5),
    (slice_, 5.0), (gather, 4.0), (gather_elements, 1.0), (gather_nd, 1.0), (scatter_nd, 1.0), (concat, 4.0), (split, 3.0),
    (pad, 3.0), (blocks, 0.5), (trilu, 0.7), (one_hot, 0.4), (cumsum, 0.7), (sequence, 0.5), (eye, 0.3), (einsum, 0.6),
]  # fmt: skip
