"""Steps with operators that are rarer: quantization, selection, sampling, optional values."""

from __future__ import annotations

import numpy as np

from .graphs import Gen, NoFit, Val
from .kinds import DTYPES, SIZES, each
from .layers import image
from .movement import axis_of, ranked


def quantized(g: Gen) -> None:
    """Quantize and dequantize again, per tensor or along an axis."""
    v = ranked(g, 1, 4, "f32")
    axis = g.rng.randrange(v.rank)
    size = v.fixed()[axis]
    along = bool(size) and g.opset >= 13 and g.chance(0.4)
    dims = (size,) if along else ()
    scale = g.weight("f32", dims, low=0.1, high=0.3)  # type: ignore[arg-type]
    dtype = g.choose(("i8", "u8"))
    zero = g.weight(dtype, dims, low=0, high=3) if dtype == "u8" or g.chance(0.6) else None  # type: ignore[arg-type]
    if zero is None:
        dtype = "u8"
    # A constant shift keeps results away from ties, where a rounding error would show.
    moved = g.like("Add", [v, g.const(np.asarray(0.0123, np.float32))], v)
    q = g.like("QuantizeLinear", [moved, scale, zero], v, dtype, axis=axis if along else None)
    if g.chance(0.3):
        q = g.like("Identity", [q], q)
    g.like("DequantizeLinear", [q, scale, zero], v, "f32", axis=axis if along else None)


def integer_products(g: Gen) -> None:
    """MatMulInteger and ConvInteger."""
    if g.opset < 10:
        raise NoFit("older")
    v = g.some("u8", rank=2)
    inner = v.fixed()[1]
    if not inner:
        raise NoFit("not fixed")
    w = g.weight(g.choose(("u8", "i8")), (inner, 3))
    shapes = each(lambda s: (s[0], 3), v.known())
    y = g.one("MatMulInteger", [v, w], "i32", shapes)
    g.like("Mul", [g.like("Cast", [y], y, "f32", to=1), g.weight("f32", ())], y, "f32")


def unique(g: Gen) -> None:
    """Unique: as many elements as there are different ones."""
    v = ranked(g, 1, 2, "i64", "f32")
    if g.opset < 11 or v.is_empty():
        raise NoFit("older")
    outputs = [(v.dtype, None, 1), ("i64", None, 1)] if g.chance(0.4) else [(v.dtype, None, 1)]
    g.emit("Unique", [v], outputs, sorted=g.choose((None, 1)))


def reverse_sequence(g: Gen) -> None:
    """ReverseSequence with constant lengths."""
    v = ranked(g, 2, 3, "f32", "i64")
    if g.opset < 10 or not v.is_fixed() or v.is_empty():
        raise NoFit("not fixed")
    lengths = g.weight("i64", (v.at(0)[1],), low=1, high=v.at(0)[0] + 1)
    g.like("ReverseSequence", [v, lengths], v, time_axis=0, batch_axis=1)


def compress(g: Gen) -> None:
    """Compress by a constant condition."""
    v = ranked(g, 1, 3, "f32", "i64", "bool")
    axis = axis_of(g, v) if g.opset >= 11 else g.rng.randrange(v.rank)
    at = axis % v.rank
    size = v.least(at)
    if not size:
        raise NoFit("empty")
    keep = g.np_rng.integers(0, 2, size).astype(np.bool_)
    shapes = each(lambda s: (*s[:at], int(keep.sum()), *s[at + 1 :]), v.known())
    g.one("Compress", [v, g.const(keep)], v.dtype, shapes, axis=axis)


def scatter_reduced(g: Gen) -> None:
    """ScatterElements and ScatterND that add up."""
    v = ranked(g, 1, 2, "f32", "i64")
    if g.opset < 16 or not v.is_fixed() or v.is_empty():
        raise NoFit("older")
    reduction = g.choose(("add", "mul", "max", "min") if g.opset >= 18 else ("add", "mul"))
    if g.chance(0.5):
        indices = g.weight("i64", v.at(0), low=0, high=v.at(0)[0])
        g.like("ScatterElements", [v, indices, g.weight(v.dtype, v.at(0))], v, reduction=reduction)
        return
    rows = g.weight("i64", (3, 1), low=0, high=v.at(0)[0])
    g.like("ScatterND", [v, rows, g.weight(v.dtype, (3, *v.at(0)[1:]))], v, reduction=reduction)


def sampled(g: Gen) -> None:
    """GridSample by a constant grid."""
    v = image(g)
    batch = v.fixed()[0]
    if g.opset < 16 or not batch:
        raise NoFit("older")
    grid = g.weight("f32", (batch, 2, 3, 2), low=-1, high=1)
    shapes = each(lambda s: (s[0], s[1], 2, 3), v.known())
    mode = g.choose((None, "nearest"))
    g.one("GridSample", [v, grid], "f32", shapes, mode=mode, align_corners=g.choose((None, 1)))


def upsample(g: Gen) -> None:
    """Upsample, the name of Resize before 10, and Resize of 10."""
    v = image(g)
    if g.opset > 10:
        raise NoFit("newer")
    factors = np.array([1, 1, g.choose((1, 2)), g.choose((1, 2))], np.float32)
    shapes = each(lambda s: [int(d * f) for d, f in zip(s, factors)], v.known())
    mode, scales = g.choose((None, "nearest", "linear")), g.const(factors)
    if scales.const is None:
        raise NoFit("may be overridden")  # then it keeps its old spelling, and gets the new one from a file
    g.one("Upsample" if g.opset == 9 else "Resize", [v, scales], "f32", shapes, mode=mode)


def optional(g: Gen) -> None:
    """An optional value that is there."""
    if g.opset < 16:
        raise NoFit("older")
    v = g.pick("f32", "i64")
    held = g.emit("Optional", [v], [("seq", None, 0)])[0]
    g.scope.values.remove(held)
    g.like("OptionalGetElement", [held], v)


def sequences(g: Gen) -> None:
    """Split into a sequence, and joined again."""
    v = ranked(g, 1, 3, "f32", "i64")
    if g.opset < 11 or not v.fixed()[0]:
        raise NoFit("older")
    parts = g.emit("SplitToSequence", [v], [("seq", None, 0)], axis=0)[0]
    g.scope.values.remove(parts)
    if g.chance(0.5):
        g.like("ConcatFromSequence", [parts], v, axis=0)
        return
    shapes = each(lambda s: (1, *s[1:]), v.known())
    g.one("SequenceAt", [parts, g.const(np.asarray(0, np.int64))], v.dtype, shapes)
    g.one("SequenceLength", [parts], "i64", ((),) * SIZES)


def boxes(g: Gen) -> None:
    """NonMaxSuppression of constant boxes."""
    if g.opset < 10:
        raise NoFit("older")
    box = g.weight("f32", (1, 4, 4), low=0, high=1)
    scores = g.some("f32", rank=3)
    if scores.fixed() != [1, 1, 4]:
        scores = g.new_input("f32", [1, 1, 4])
    limit = g.const(np.array([2], np.int64))
    g.one("NonMaxSuppression", [box, scores, limit, g.const(np.array([0.5], np.float32))], "i64", None, 2)


def window(g: Gen) -> None:
    """Windows, random-free signals and determinants."""
    if g.opset >= 17 and g.chance(0.5):
        size = g.const(np.asarray(5, np.int64))
        g.one(g.choose(("HannWindow", "HammingWindow")), [size], "f32", ((5,),) * SIZES, periodic=g.choose((None, 0)))
        return
    v = g.new_input("f32", [g.dim(), 2, 2])
    g.one("Det", [v], "f32", each(lambda s: s[:1], v.known()))


def aggregate(g: Gen) -> None:
    """Norms and activations that only some opsets have."""
    v = g.pick("f32", where=lambda v: v.rank > 1 and not v.is_empty())
    op = g.choose(("LpNormalization", "Shrink", "Hardmax", "ReduceLogSumExp", "Mish", "CastLike", "DynamicQuantizeLinear"))
    if op == "Shrink":
        g.like(op, [v], v, lambd=0.3, bias=g.choose((None, 0.1)))
    elif op == "CastLike":
        g.like(op, [v, g.weight("f64", ())], v, "f64")
    elif op == "ReduceLogSumExp":
        g.one(op, [v], v.dtype, ((),) * SIZES, keepdims=0)
    elif op == "DynamicQuantizeLinear":
        outputs = [("u8", v.shapes, v.rank), ("f32", ((),) * SIZES, 0), ("u8", ((),) * SIZES, 0)]
        q, scale, zero = g.emit(op, [v], outputs)
        g.like("DequantizeLinear", [q, scale, zero], v)
    else:
        g.like(op, [v], v)


def typed_constants(g: Gen) -> None:
    """Constants of every type, cast and put together."""
    dtype = g.choose([d for d in DTYPES if d not in ("str", "bf16")])
    c = g.weight(dtype, g.choose(((), (2,), (2, 3))))
    y: Val = g.like("Identity", [c], c)
    if g.chance(0.5) and dtype != "bool":
        y = g.like("Cast", [y], y, "f64" if dtype in ("f32", "f16", "f64") else "i64", to=11 if dtype in ("f32", "f16", "f64") else 7)
    if c.rank:
        g.one("Concat", [y, y], y.dtype, each(lambda s: (s[0] * 2, *s[1:]), y.known()), axis=0)


STEPS = [
    (quantized, 1.5), (integer_products, 0.5), (unique, 0.7), (reverse_sequence, 0.4), (compress, 0.5), (scatter_reduced, 0.7),
    (sampled, 0.4), (upsample, 1.0), (optional, 0.4), (sequences, 0.7), (boxes, 0.3), (window, 0.5), (aggregate, 1.0),
    (typed_constants, 1.0),
]  # fmt: skip
