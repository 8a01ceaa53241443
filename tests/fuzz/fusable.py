"""Steps that spell out what fusions look for: activations, normalizations, softmax, attention, rotary embeddings.

Each is right most of the time, in one of many spellings, and slightly wrong now and then: another constant, axis or
operand, a value in the middle that somebody else reads. Both must mean the same afterwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .graphs import Gen, NoFit, Val
from .kinds import DTYPES, Shapes, broadcast, each
from .movement import with_axes

WRONG = 0.06  # how often a detail is not what the pattern wants


def pick(g: Gen, right: Any, *wrong: Any) -> Any:
    return g.choose(wrong) if wrong and g.chance(WRONG) else right


def watched(g: Gen, v: Val) -> Val:
    """Now and then somebody else looks at a value inside."""
    if g.chance(0.03):
        g.like("Neg", [v], v)
    return v


def number(g: Gen, v: Val, value: float) -> Val:
    """A constant of one element, of the type of `v`."""
    shape = g.choose(((), (), (1,)))
    return g.const(np.full(shape, value, DTYPES[v.dtype][1]), v.dtype)


def both(g: Gen, op: str, a: Val, b: Val) -> Val:
    """A commutative operator, in either order."""
    if g.chance(0.5):
        a, b = b, a
    return g.one(op, [a, b], a.dtype, broadcast(a, b))


def scaled(g: Gen, v: Val, factor: float) -> Val:
    """v * factor, perhaps as a division."""
    if g.chance(0.4):
        return watched(g, g.like("Div", [v, number(g, v, 1 / factor)], v))
    return watched(g, both(g, "Mul", v, number(g, v, factor)))


def squared(g: Gen, v: Val) -> Val:
    if g.chance(0.5):
        return watched(g, g.like("Pow", [v, number(g, v, pick(g, 2.0, 3.0))], v))
    return watched(g, g.like("Mul", [v, v], v))


def plus(g: Gen, v: Val, value: float) -> Val:
    return watched(g, both(g, "Add", v, number(g, v, value)))


def smooth(g: Gen, *ranks: int) -> Val:
    """A value with moderate elements: a computed one that is bounded, or a new input."""
    dtype = g.choose(("f32", "f32", "f32", "f16"))
    rank = g.choose(ranks)
    try:
        found = g.pick(dtype, where=lambda v: v.rank == rank and v.const is None and not v.is_empty())
        return g.like("Tanh", [found], found) if g.chance(0.5) else found
    except NoFit:
        pass
    dims = [g.dim() or 2 for _ in range(rank - 1)] + [g.choose((2, 4, 6, 8))]
    return g.new_input(dtype, dims, low=-2.0, high=2.0)


def gelu(g: Gen) -> None:
    """x * (1 + erf(x / sqrt(2))) / 2, the halves grouped anyhow; or its form with tanh."""
    x = smooth(g, 1, 2, 3, 4)
    half = pick(g, 0.5, 0.25)
    if g.chance(0.5):
        inner = g.like("Erf", [scaled(g, x, pick(g, 0.70710678, 0.6))], x)
    else:
        cube = g.like("Pow", [x, number(g, x, 3.0)], x) if g.chance(0.5) else both(g, "Mul", squared(g, x), x)
        inner = both(g, "Add", scaled(g, cube, pick(g, 0.044715, 0.05)), x)
        inner = g.like("Tanh", [scaled(g, inner, pick(g, 0.7978845608, 0.75))], x)
    inner = plus(g, watched(g, inner), pick(g, 1.0, 2.0))
    order = g.rng.randrange(3)
    if order == 0:
        both(g, "Mul", scaled(g, x, half), inner)
    elif order == 1:
        both(g, "Mul", x, scaled(g, inner, half))
    else:
        scaled(g, both(g, "Mul", x, inner), half)


def sigmoids(g: Gen) -> None:
    """x * sigmoid(x), hard and soft relatives."""
    x = smooth(g, 1, 2, 3, 4)
    kind = g.rng.randrange(6)
    if kind == 0:
        gate = g.like("Sigmoid", [x if g.chance(0.5) else scaled(g, x, g.choose((1.702, 1.0, 2.0)))], x)
    elif kind == 1:
        gate = plus(g, g.like("Exp", [g.like("Neg", [x], x)], x), pick(g, 1.0, 2.0))
        if g.chance(0.4):
            g.like("Div", [x, gate], x)
            return
        gate = g.like("Reciprocal", [gate], x) if g.chance(0.5) else g.like("Div", [number(g, x, 1.0), gate], x)
    elif kind == 2:
        soft = g.like("Softplus", [x], x)
        if g.chance(0.5):
            soft = g.like("Log", [plus(g, g.like("Exp", [x], x), pick(g, 1.0, 2.0))], x)
        gate = g.like("Tanh", [watched(g, soft)], x)
    elif kind == 3 and g.opset >= 11:
        low, high = number(g, x, 0.0), number(g, x, pick(g, 6.0, 5.0))
        gate = plus(g, x, pick(g, 3.0, 2.0))
        if low.rank or high.rank or g.chance(0.3):
            gate = g.like("Min", [g.like("Max", [gate, low], x), high], x)
        else:
            gate = g.like("Clip", [gate, low, high], x)
        gate = scaled(g, watched(g, gate), 1 / 6)
    elif kind == 4:
        gate = g.like("HardSigmoid", [x], x, alpha=pick(g, 1 / 6, 0.2), beta=0.5)
    else:
        gate = g.like("Relu", [x], x)
    if not g.chance(0.1):
        both(g, "Mul", x, watched(g, gate))


def mean(g: Gen, v: Val, axes: list[int]) -> Val:
    shapes = each(lambda s: [1 if i in axes else d for i, d in enumerate(s)], v.known())
    given = [a - v.rank for a in axes] if g.opset >= 11 and g.chance(0.5) else axes
    return with_axes(g, "ReduceMean", v, given, 18, shapes)


def norms(g: Gen) -> None:
    """(x - mean) / sqrt(mean of squares + eps), with or without the mean, scale and shift."""
    x = smooth(g, 2, 3, 4)
    axes = pick(g, [x.rank - 1], [x.rank - 2], [x.rank - 2, x.rank - 1])
    if x.dtype == "f16":
        x = g.like("Cast", [x], x, "f32", to=DTYPES["f32"][0])
    middle = x
    if g.chance(0.6):
        middle = g.like("Sub", [x, watched(g, mean(g, x, axes))], x)
    again = middle
    if middle is not x and g.chance(0.2):
        again = g.like("Sub", [x, mean(g, x, axes)], x)
    square = mean(g, squared(g, again), pick(g, axes, [0]))
    safe = plus(g, square, pick(g, 1e-5, 1e-6, 0.1))
    form = g.rng.randrange(4)
    if form == 0:
        y = g.one("Div", [middle, g.like("Sqrt", [safe], safe)], x.dtype, broadcast(middle, safe))
    elif form == 1:
        y = both(g, "Mul", middle, g.like("Reciprocal", [g.like("Sqrt", [safe], safe)], safe))
    elif form == 2:
        y = both(g, "Mul", middle, g.like("Pow", [safe, number(g, safe, pick(g, -0.5, -1.0))], safe))
    else:
        root = g.like("Sqrt", [safe], safe)
        y = both(g, "Mul", middle, g.like("Div", [number(g, root, 1.0), root], root))
    watched(g, y)
    last = x.fixed()[-1]
    for op in ("Mul", "Add"):
        if last and g.chance(0.8):
            y = both(g, op, y, g.weight("f32", pick(g, (last,), (1, last), ())))


def grouped_norm(g: Gen) -> None:
    """InstanceNormalization over groups of channels, then a scale and a shift for each channel."""
    groups, size = g.choose((1, 2)), g.choose((1, 2, 3))
    channels = groups * size
    x = g.new_input("f32", [g.dim() or 1, channels, 4, g.choose((2, 3))], low=-2.0, high=2.0)
    split = each(lambda s: (s[0], groups, size * s[2] * s[3]), x.known())
    flat = g.one("Reshape", [x, g.ints([0, groups, -1])], "f32", split)
    ones = g.const(np.full((groups,), pick(g, 1.0, 2.0), np.float32), "f32")
    y = g.like("InstanceNormalization", [flat, ones, g.const(np.zeros((groups,), np.float32), "f32")], flat, epsilon=1e-5)
    target = [d if d is not None else -1 for d in x.fixed()]
    y = g.one("Reshape", [y, g.ints(target)], "f32", x.known())
    for op in ("Mul", "Add"):
        if g.chance(0.8):
            y = both(g, op, y, g.weight("f32", pick(g, (channels, 1, 1), (1, channels, 1, 1), ())))


def soft(g: Gen, v: Val) -> Val:
    """Softmax over the last axis, spelled out now and then."""
    if g.opset >= 13 and g.chance(0.85):
        return g.like("Softmax", [v], v, axis=pick(g, g.choose((-1, v.rank - 1)), 0))
    if g.opset < 13 and v.rank == 4:
        return g.like("Softmax", [v], v, axis=3)
    shapes = each(lambda s: (*s[:-1], 1), v.known())
    top = with_axes(g, "ReduceMax", v, [v.rank - 1], 18, shapes)
    powers = g.like("Exp", [g.like("Sub", [v, top], v)], v)
    total = with_axes(g, "ReduceSum", powers, [pick(g, v.rank - 1, 0)], 13, shapes)
    if total.shapes != shapes:
        raise NoFit("axis")
    y = g.like("Div", [powers, total], v)
    return g.like("Log", [y], y) if g.chance(0.1) else y


def softmax(g: Gen) -> None:
    """A softmax, perhaps spelled out."""
    soft(g, smooth(g, 2, 3, 4))


def heads(g: Gen, batch: Any, count: int, length: Any, width: int) -> Val:
    """A 4-D operand [B,H,S,D], from 4-D, transposed or packed inputs."""
    form = g.rng.randrange(3)
    if form == 0:
        return g.new_input("f32", [batch, count, length, width], low=-1.5, high=1.5)
    if form == 1:
        x = g.new_input("f32", [batch, length, count, width], low=-1.5, high=1.5)
    else:
        packed = g.new_input("f32", [batch, length, count * width], low=-1.5, high=1.5)
        shapes = each(lambda s: (s[0], s[1], count, width), packed.known())
        x = g.one("Reshape", [packed, g.ints([0, 0, count, width])], "f32", shapes)
    return g.one("Transpose", [x], "f32", each(lambda s: (s[0], s[2], s[1], s[3]), x.known()), perm=[0, 2, 1, 3])


def repeated(g: Gen, v: Val, times: int) -> Val:
    """Each head `times` times, next to each other."""
    if g.opset < 13:
        raise NoFit("Unsqueeze")
    wide = g.one("Unsqueeze", [v, g.ints([2])], "f32", each(lambda s: (*s[:2], 1, *s[2:]), v.known()))
    factors = g.ints([1, 1, times, 1, 1])
    wide = g.one("Expand", [wide, factors], "f32", each(lambda s: (*s[:2], times, *s[3:]), wide.known()))
    fixed = v.fixed()
    if fixed[1] is None or (fixed[0] is None and fixed[2] is None):
        raise NoFit("two unknown dimensions")
    target = [-1 if fixed[0] is None else fixed[0], fixed[1] * times, -1 if fixed[2] is None else fixed[2], fixed[3]]
    return g.one("Reshape", [wide, g.ints(target)], "f32", each(lambda s: (s[0], s[1] * times, s[2], s[3]), v.known()))


def attention(g: Gen) -> None:
    """softmax(q k^T * scale + mask) v."""
    if g.opset < 12:
        raise NoFit("Where, MatMul")
    batch, length, total = g.dim() or 1, g.dim() or 3, g.dim() or 4
    if g.chance(0.5):
        total = length
    times = g.choose((1, 1, 1, 2, 3))
    count, width, wide = g.choose((1, 2, 3)) * times, g.choose((2, 4, 8)), g.choose((2, 4, 8))
    q, k, v = (
        heads(g, batch, n, s, d) for n, s, d in ((count, length, width), (count // times, total, width), (count // times, total, wide))
    )
    if times > 1:
        k, v = repeated(g, k, times), repeated(g, v, times)
    root = width**-0.25
    place = g.rng.randrange(5)
    if place == 0:
        q = scaled(g, q, g.choose((root * root, 0.3)))
    perm = pick(g, [0, 1, 3, 2], [0, 1, 2, 3])
    kt = g.one("Transpose", [k], "f32", each(lambda s: [s[p] for p in perm], k.known()), perm=perm)
    if place == 1:
        kt = scaled(g, kt, root * root)
    elif place == 2:
        q, kt = scaled(g, q, root), scaled(g, kt, root)
    scores = g.one("MatMul", [q, kt], "f32", each(_product, q.known(), kt.known()))
    if place == 3:
        scores = scaled(g, scores, g.choose((root * root, 2.0)))
    if g.chance(0.1):
        scores = scaled(g, g.like("Tanh", [scaled(g, scores, 0.1)], scores), 10.0)
    scores = masked(g, watched(g, scores), batch, count, length, total)
    weights = watched(g, soft(g, scores))
    y = g.one("MatMul", [weights, v], "f32", each(_product, weights.known(), v.known()))
    if g.chance(0.6):
        y = g.one("Transpose", [y], "f32", each(lambda s: (s[0], s[2], s[1], s[3]), y.known()), perm=[0, 2, 1, 3])
        g.one("Reshape", [y, g.ints([0, 0, count * wide])], "f32", each(lambda s: (s[0], s[1], count * wide), y.known()))


def _product(a: Any, b: Any) -> Any:
    if a[-1] != b[-2]:
        raise ValueError("no product")
    return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])


def masked(g: Gen, scores: Val, batch: Any, count: int, length: Any, total: Any) -> Val:
    """The scores with a mask: none, added, chosen by a condition, causal."""
    kind = g.rng.randrange(5)
    dims = [g.choose((batch, 1)), g.choose((1, 1, count)), g.choose((length, 1)), pick(g, total, 1)]
    low = g.choose((-1e9, -1e4, float(np.finfo(np.float32).min), -np.inf))
    if kind == 0:
        return scores
    if kind == 1:
        return both(g, "Add", scores, g.new_input("f32", dims, low=-3.0, high=0.0))
    if kind == 2:  # 0 or 1 for each key; the first one is seen, whatever the input says
        seen = g.new_input("i64", [batch, 1, 1, total], low=0, high=2)
        sight = g.like("Cast", [seen], seen, "bool", to=DTYPES["bool"][0])
    elif kind == 3:
        sight = g.new_input("bool", dims)
    else:
        rows, columns = scores.fixed()[2:]
        if rows is None or columns is None:
            raise NoFit("not fixed")
        sight = g.const(np.tril(np.ones((rows, columns), np.bool_), g.choose((0, 0, columns - rows, 1))), "bool")
    if np.isinf(low) and kind != 4:
        low = -1e9  # a row that sees nothing would not be a number
    zero, bottom = g.const(np.zeros((), np.float32)), g.const(np.asarray(low, np.float32))
    g.scope.values = [v for v in g.scope.values if v is not bottom]
    if g.chance(0.5):
        bias = g.one("Where", [sight, zero, bottom], "f32", sight.known())
        result = both(g, "Add", scores, bias)
        hidden = [bias, result]
    else:
        shapes: Shapes = broadcast(sight, scores)
        result = g.one("Where", [sight, scores, bottom], "f32", shapes)
        hidden = [result]
    g.scope.values = [v for v in g.scope.values if v not in hidden]  # too large for anything but a softmax
    return result


def rotary(g: Gen) -> None:
    """x * cos + rotate_half(x) * sin, or its halves one by one."""
    if g.opset < 10:
        raise NoFit("Slice")
    batch, count, length, width = g.dim() or 1, g.choose((1, 2)), g.dim() or 3, g.choose((2, 4, 8))
    x = heads(g, batch, count, length, width)
    half = width // 2
    angles = g.new_input("f32", [g.choose((batch, 1)), length, half], low=-3.0, high=3.0)
    double = pick(g, True, False)
    other = angles if double else g.like("Neg", [angles], angles)
    full = g.one("Concat", [angles, other], "f32", each(lambda s: (*s[:2], width), angles.known()), axis=-1 if g.opset >= 11 else 2)
    tables = [g.like(op, [full], full) for op in ("Cos", "Sin")]
    if g.chance(WRONG):
        tables.reverse()
    cos, sin = (with_axes(g, "Unsqueeze", t, [1], 13, each(lambda s: (s[0], 1, *s[1:]), t.known())) for t in tables)
    shapes = each(lambda s: (*s[:3], half), x.known())
    if g.chance(0.5):
        split = g.ints([half, half]) if g.opset >= 13 else None
        first, second = g.emit("Split", [x, split], [("f32", shapes, 4)] * 2, axis=3, split=None if split else [half, half])
    else:
        first = g.one("Slice", [x, g.ints([0]), g.ints([half]), g.ints([3])], "f32", shapes)
        second = g.one("Slice", [x, g.ints([half]), g.ints([g.choose((width, 2**31 - 1))]), g.ints([3])], "f32", shapes)
    parts = [g.like("Neg", [second], second), first]
    if g.chance(WRONG):
        parts.reverse()
    turned = g.one("Concat", parts, "f32", x.known(), axis=3)
    both(g, "Add", both(g, "Mul", x, cos), both(g, "Mul", watched(g, turned), sin))


def encoder(g: Gen) -> None:
    """A LayerNormalization that products read and a residual connection adds to, as where sums are normalized."""
    if g.opset < 17:
        raise NoFit("LayerNormalization")
    size = g.choose((2, 4, 8))
    x = g.new_input("f32", [g.dim() or 1, g.dim() or 3, size], low=-2.0, high=2.0)
    scale, shift = g.weight("f32", (size,)), g.weight("f32", (size,))
    n = watched(g, g.like("LayerNormalization", [x, scale, shift], x, axis=pick(g, -1, 1)))

    def product(v: Val, inputs: int, outputs: int) -> Val:
        weight = g.weight("f32", (inputs, outputs))
        y = watched(g, g.one("MatMul", [v, weight], "f32", each(lambda s: (*s[:-1], outputs), v.known())))
        return both(g, "Add", y, g.weight("f32", pick(g, (outputs,), (1,)))) if g.chance(0.85) else y

    inner = n
    for _ in range(g.rng.randrange(1, 4)):
        inner = product(n, size, 4)
    both(g, "Add", pick(g, n, x), product(g.like("Relu", [inner], inner), 4, size))


def focus(g: Gen) -> None:
    """Blocks of an image become channels, or channels blocks."""
    block, channels = g.choose((2, 2, 3)), g.choose((1, 2))
    x = g.new_input("f32", [g.dim() or 1, channels * block * block, g.choose((2, 3)), 2])
    shapes = x.known()
    split = g.choose(([0, block, block, channels, 2], [0, channels, block, block, 2]))
    height = x.fixed()[2]
    perm = pick(g, [0, 3, 4, 1, 5, 2] if split[1] == block else [0, 1, 4, 2, 5, 3], [0, 3, 4, 2, 5, 1])
    target = [0, *split[1:4], height, 2]
    six = g.one("Reshape", [x, g.ints(target)], "f32", each(lambda s: (s[0], *split[1:4], s[2], s[3]), shapes))
    moved = g.one("Transpose", [six], "f32", each(lambda s: [s[p] for p in perm], six.known()), perm=perm)
    out = each(lambda s: (s[0], s[1], s[2] * s[3], s[4] * s[5]), moved.known())
    fixed = out[0][1:]
    g.one("Reshape", [moved, g.ints([0, *fixed])], "f32", out)


STEPS = [
    (gelu, 4.0), (sigmoids, 4.0), (norms, 5.0), (grouped_norm, 1.5), (softmax, 2.0), (attention, 6.0), (rotary, 3.0),
    (focus, 1.0), (encoder, 2.0),
]  # fmt: skip
