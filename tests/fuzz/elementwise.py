"""Steps that treat elements one by one: arithmetic, comparisons, casts, choices, all with broadcasting."""

from __future__ import annotations

import numpy as np

from .graphs import FLOATS, INTS, NUMBERS, Gen, NoFit, Val
from .kinds import DTYPES, broadcast, each

_FLOAT_UNARY = (
    "Relu", "Sigmoid", "Tanh", "Erf", "Softplus", "Softsign", "Elu", "Selu", "LeakyRelu", "HardSigmoid", "HardSwish", "Mish",
    "Gelu", "Swish", "Celu", "ThresholdedRelu", "Sin", "Cos", "Atan", "Exp", "Sqrt", "Log", "Reciprocal", "Floor", "Ceil", "Round",
    "Sinh", "Cosh", "Tan", "Asinh", "Acos",
)  # fmt: skip
_NUMBER_UNARY = ("Neg", "Abs", "Sign", "Identity", "Relu")
_ATTRIBUTES = {"LeakyRelu": "alpha", "Elu": "alpha", "ThresholdedRelu": "alpha", "HardSigmoid": "beta", "Celu": "alpha"}
_COMPARISONS = ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual")


def unary(g: Gen) -> None:
    """A function of one operand, whose shape need not be known."""
    v = g.pick(*NUMBERS, loose=True)
    op = g.choose(_FLOAT_UNARY + _NUMBER_UNARY) if v.dtype in FLOATS else g.choose(_NUMBER_UNARY)
    attrs = {}
    if op in _ATTRIBUTES and g.chance(0.5):
        attrs[_ATTRIBUTES[op]] = g.choose((0.25, 0.5, 1.0))
    if op == "Gelu" and g.chance(0.5):
        attrs["approximate"] = "tanh"
    g.like(op, [v], v, **attrs)


def identities(g: Gen) -> None:
    """Operators that do nothing, one or several in a row."""
    v = g.pick(loose=True)
    for _ in range(g.rng.choice((1, 1, 2, 3))):
        kind = g.rng.randrange(5)
        if kind == 0 and v.dtype in FLOATS:
            ratio = g.weight("f32", (), low=0.1, high=0.9) if g.opset >= 12 and g.chance(0.5) else None
            outputs = [(v.dtype, v.shapes, v.rank)]
            if v.dtype == "f32" and g.opset >= 12 and g.chance(0.3):
                outputs.append(("bool", v.shapes, v.rank))  # earlier the mask was not defined
            v = g.emit("Dropout", [v, ratio], outputs, ratio=0.3 if g.opset < 12 and g.chance(0.5) else None)[0]
        elif kind == 1 and v.dtype != "str":
            v = g.like("Cast", [v], v, to=DTYPES[v.dtype][0])
        elif kind == 2 and v.rank > 0:
            v = g.like("Transpose", [v], v, perm=list(range(v.rank)))
        elif kind == 3 and v.dtype in NUMBERS:
            op, number = g.choose((("Add", 0), ("Sub", 0), ("Mul", 1), ("Div", 1), ("Pow", 1)))
            operand = g.const(np.full((1,) * g.rng.randrange(v.rank + 1), number, DTYPES[v.dtype][1]), v.dtype)
            v = g.like(op, [v, operand], v)
        else:
            v = g.like("Identity", [v], v)


def partner(g: Gen, v: Val, dtype: str | None = None, **range_: float) -> Val:
    """A second operand that broadcasts with v: a value, or a constant of one of the usual shapes."""
    dtype = dtype or v.dtype
    if g.chance(0.35) and not range_:
        found = [w for w in g.visible() if w.dtype == dtype and w.shapes is not None and _fits(v, w)]
        if found:
            return g.rng.choice(found)
    fixed = v.fixed()
    style = g.rng.randrange(7)
    shape: list[int] = [1 if d is None else d for d in fixed]
    if style == 0:
        shape = []
    elif style == 1:
        shape = [1] * g.rng.randrange(1, v.rank + 2)
    elif style == 2 and shape:
        shape = shape[-1:]
    elif style == 3 and len(shape) > 2:
        shape = [shape[1], *[1] * (len(shape) - 2)]
        if g.chance(0.5):
            shape = [1, *shape]
    elif style == 4:
        shape = [d if g.chance(0.5) else 1 for d in shape]
    elif style == 5:
        shape = [g.rng.choice((1, 2)), *shape] if len(shape) < 5 else shape
    elif style == 6:
        shape = [g.rng.choice((2, 3)) if d == 1 and g.chance(0.4) else d for d in shape][g.rng.randrange(v.rank + 1) :]
    return g.weight(dtype, shape, **range_)


def _fits(v: Val, w: Val) -> bool:
    try:
        broadcast(v, w)
    except NoFit:
        return False
    return True


def ordered(g: Gen, a: Val, b: Val) -> list[Val]:
    return [a, b] if g.chance(0.7) else [b, a]


def arithmetic(g: Gen) -> None:
    """Add, Sub, Mul, and Div and Pow where they are harmless."""
    v = g.pick(*NUMBERS)
    op = g.choose(("Add", "Add", "Sub", "Mul", "Mul", "Div", "Pow", "Max", "Min"))
    if op == "Div":
        b = partner(g, v, low=1, high=4)
        g.one("Div", [v, b], v.dtype, broadcast(v, b))
    elif op == "Pow":
        b = g.weight(v.dtype if g.opset < 12 or g.chance(0.6) else g.choose(("f32", "i64", "i32")), ())
        b = g.const(np.asarray(g.choose((1, 2, 2, 3)), DTYPES[b.dtype][1]), b.dtype)
        g.like("Pow", [v, b], v)
    else:
        w = partner(g, v)
        g.one(op, ordered(g, v, w), v.dtype, broadcast(v, w))


def self_operand(g: Gen) -> None:
    """One value as both operands."""
    v = g.pick(*FLOATS, *INTS, loose=True)
    g.like(g.choose(("Add", "Sub", "Mul", "Max")), [v, v], v)


def loose_scalar(g: Gen) -> None:
    """Arithmetic with one number: works on shapes that nobody knows."""
    v = g.pick("f32", "i64", "f64", loose=True)
    g.like(g.choose(("Add", "Mul", "Sub")), [v, g.weight(v.dtype, ())], v)


def variadic(g: Gen) -> None:
    """Sum, Mean, Max and Min of one to four operands."""
    v = g.pick(*FLOATS)
    operands = [v] + [partner(g, v) for _ in range(g.rng.choice((0, 1, 2, 3)))]
    g.one(g.choose(("Sum", "Mean", "Max", "Min")), operands, v.dtype, broadcast(*operands))


def compare(g: Gen) -> None:
    """Comparisons; equality of strings too."""
    v = g.pick()
    op = "Equal" if v.dtype in ("bool", "str") else g.choose(_COMPARISONS)
    w = partner(g, v)
    g.one(op, ordered(g, v, w), "bool", broadcast(v, w))


def logical(g: Gen) -> None:
    """And, Or, Xor, Not, and bits of integers."""
    v = g.some("bool")
    op = g.choose(("And", "Or", "Xor", "Not", "Not"))
    if op == "Not":
        g.like("Not", [v], v)
        return
    w = partner(g, v)
    g.one(op, ordered(g, v, w), "bool", broadcast(v, w))


def bits(g: Gen) -> None:
    """Bitwise operators and shifts."""
    v = g.pick(*INTS)
    op = g.choose(("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitShift", "Mod"))
    if op == "BitwiseNot":
        g.like(op, [v], v)
    elif op == "BitShift":
        b = partner(g, v, low=0, high=3)
        g.one(op, [v, b], v.dtype, broadcast(v, b), direction=g.choose(("LEFT", "RIGHT")))
    elif op == "Mod":
        b = partner(g, v, low=1, high=4)
        g.one(op, [v, b], v.dtype, broadcast(v, b), fmod=g.choose((None, 1)))
    else:
        b = partner(g, v)
        g.one(op, ordered(g, v, b), v.dtype, broadcast(v, b))


def where(g: Gen) -> None:
    """Where, sometimes with a constant condition."""
    v = g.pick()
    if g.chance(0.3):
        condition = g.const(np.full((1,) * g.rng.randrange(v.rank + 1), g.chance(0.5)))
    else:
        condition = partner(g, v, "bool")
    w = v if g.chance(0.1) else partner(g, v)
    first, second = ordered(g, v, w)
    g.one("Where", [condition, first, second], v.dtype, broadcast(condition, first, second))


def clip(g: Gen) -> None:
    """Clip with attributes or operands, either bound left out."""
    v = g.pick(*NUMBERS, loose=True)
    low, high = g.choose(((-1, 1), (0, 6), (0, None), (None, 2), (None, None)))
    if v.dtype[0] == "u":
        low = None if low is None else max(low, 0)
    if g.opset < 11:
        g.like("Clip", [v], v, min=None if low is None else float(low), max=None if high is None else float(high))
        return
    kind = DTYPES[v.dtype][1]
    g.like("Clip", [v, *(None if n is None else g.const(np.asarray(n, kind), v.dtype) for n in (low, high))], v)


def cast(g: Gen) -> None:
    """Casts between all types. Numbers too large for an integer type are cut first."""
    v = g.pick(loose=True)
    for _ in range(g.rng.choice((1, 1, 2, 3))):
        to = g.choose([d for d in (*NUMBERS, "bool", "f32", "i64", "str") if d != v.dtype])
        if v.dtype == "str" or (to == "str" and v.dtype in FLOATS):
            raise NoFit("texts of numbers differ")
        if v.dtype in FLOATS and to in INTS:
            v = _bounded(g, v, 0 if to[0] == "u" else -100)
        elif v.dtype in INTS and to in INTS and to[0] == "u" and v.dtype[0] != "u" and g.chance(0.5):
            v = g.like("Abs", [v], v)
        v = g.like("Cast", [v], v, to, to=DTYPES[to][0])


def _bounded(g: Gen, v: Val, low: int) -> Val:
    if v.dtype == "bf16":
        raise NoFit("no Clip")
    # Away from whole numbers, where a rounding error would show.
    v = g.like("Tanh" if g.chance(0.5) else "Sin", [v], v)
    scaled = g.like("Mul", [v, g.const(np.asarray(7.3, DTYPES[v.dtype][1]), v.dtype)], v)
    bounded = g.like("Abs", [scaled], v) if low == 0 else scaled
    nan = g.like("IsNaN", [bounded], bounded, "bool")
    return g.like("Where", [nan, g.const(np.asarray(1.5, DTYPES[v.dtype][1]), v.dtype), bounded], v)


def cast_like(g: Gen) -> None:
    """CastLike to a wider type."""
    v, to = g.pick("i32", "u8", "f32", "f16", "i64", loose=True), g.pick("f32", "f64", "i64")
    if v.dtype in FLOATS and to.dtype in INTS:
        raise NoFit("loses")
    g.like("CastLike", [v, to], v, to.dtype)


def prelu(g: Gen) -> None:
    """PRelu, whose slope broadcasts one way only."""
    v = g.pick("f32", "f64")
    slope = partner(g, v)
    if broadcast(v, slope) != v.shapes:
        raise NoFit("slope too large")
    g.like("PRelu", [v, slope], v)


def special(g: Gen) -> None:
    """IsNaN and IsInf."""
    v = g.pick(*FLOATS, loose=True)
    if g.chance(0.5):
        g.like("IsNaN", [v], v, "bool")
    else:
        g.like("IsInf", [v], v, "bool", detect_negative=g.choose((None, 0)), detect_positive=g.choose((None, 0)))


def float_mod(g: Gen) -> None:
    """Mod of floats."""
    v = g.pick("f32", "f64")
    b = partner(g, v, low=1, high=3)
    g.one("Mod", [v, b], v.dtype, broadcast(v, b), fmod=1)


def duplicate(g: Gen) -> None:
    """A node once more, commuted where that means the same."""
    op, inputs, outputs, attrs = g.choose(g.scope.made[-12:])
    operands = list(inputs)
    if op in ("Add", "Mul", "Equal", "And", "Or", "Max", "Min") and g.chance(0.5):
        operands.reverse()
    if "body" in attrs or "then_branch" in attrs or any(v.dtype == "seq" for v in outputs):
        raise NoFit("a region")
    g.emit(op, operands, [(v.dtype, v.shapes, v.rank) for v in outputs], **attrs)


def strings(g: Gen) -> None:
    """Strings are moved about like anything else."""
    v = g.some("str")
    if v.rank and g.chance(0.5):
        w = g.like("Identity", [v], v)
        axis = g.rng.randrange(v.rank)
        shapes = each(lambda s: [d * 2 if i == axis else d for i, d in enumerate(s)], v.known())
        g.one("Concat", [v, w], "str", shapes, axis=axis)
    else:
        g.like("Identity", [v], v)


STEPS = [
    (unary, 8.0), (identities, 3.0), (arithmetic, 10.0), (self_operand, 1.0), (loose_scalar, 1.0), (variadic, 2.0),
    (compare, 2.0), (logical, 2.0), (bits, 1.0), (where, 3.0), (clip, 2.0), (cast, 4.0), (cast_like, 0.7), (prelu, 1.0),
    (special, 0.5), (float_mod, 0.5), (duplicate, 2.0), (strings, 0.3),
]  # fmt: skip
