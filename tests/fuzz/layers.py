"""Steps that are layers of networks: reductions, products, convolutions, pooling, normalisations, recurrences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .graphs import FLOATS, Gen, NoFit, Val
from .kinds import Shape, each
from .movement import axis_of, ranked

_REDUCTIONS = (
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceSumSquare",
)  # fmt: skip


def reduce(g: Gen) -> None:
    """A reduction over some axes, all of them, or by `noop_with_empty_axes` none."""
    v = ranked(g, 0, 5, "f32", "f32", "f64", "i32", "i64")
    op = g.choose(_REDUCTIONS)
    if v.is_empty():
        raise NoFit("empty")  # onnxruntime's results depend on how the axes are counted
    keep = g.chance(0.5)
    axes = None if g.chance(0.2) or not v.rank else sorted(g.rng.sample(range(v.rank), g.rng.randrange(1, v.rank + 1)))
    since = 13 if op == "ReduceSum" else 18
    noop = axes is None and g.opset >= since and g.chance(0.5)
    over = [] if noop else axes if axes is not None else list(range(v.rank))

    def shape(s: Shape) -> list[int]:
        return [1 if i in over else d for i, d in enumerate(s) if keep or i not in over]

    shapes = each(shape, v.known())
    if axes is not None and g.opset >= 11 and g.chance(0.3):
        axes = [a - v.rank for a in axes]
    attrs: dict[str, Any] = {"keepdims": None if keep and g.chance(0.5) else int(keep)}
    if g.opset < since:
        g.one(op, [v], v.dtype, shapes, axes=axes, **attrs)
        return
    if g.opset >= since:
        attrs["noop_with_empty_axes"] = 1 if noop else None
    if axes is None:
        operand = g.const(np.zeros(0, np.int64)) if g.chance(0.3) else None
    else:
        operand = g.ints(axes)
    g.one(op, [v, operand], v.dtype, shapes, **attrs)


def reduce_loose(g: Gen) -> None:
    """A reduction to one number, of any shape."""
    v = g.pick("f32", "i64", "f64", loose=True)
    if v.shapes is not None and v.is_empty():
        raise NoFit("empty")
    g.one("ReduceSum", [v], v.dtype, ((), (), ()), keepdims=0)


def arg(g: Gen) -> None:
    """ArgMax and ArgMin."""
    v = ranked(g, 1, 4, "f32", "f64", "i32")
    axis, keep = axis_of(g, v), g.chance(0.5)
    if v.is_empty():
        raise NoFit("empty")
    at = axis % v.rank
    if g.opset < 11:
        axis = at
    shapes = each(lambda s: [1 if i == at else d for i, d in enumerate(s) if keep or i != at], v.known())
    last = g.choose((None, 1)) if g.opset >= 12 else None
    g.one(g.choose(("ArgMax", "ArgMin")), [v], "i64", shapes, axis=axis, keepdims=int(keep), select_last_index=last)


def topk(g: Gen) -> None:
    """TopK, values and indices."""
    v = ranked(g, 1, 3, "f32", "f64", "i64")
    axis = v.rank - 1
    k = v.least(axis)
    if k == 0:
        raise NoFit("empty")
    k = g.rng.randrange(1, k + 1)
    shapes = each(lambda s: (*s[:-1], k), v.known())
    if g.opset < 10:
        g.emit("TopK", [v], [(v.dtype, shapes, v.rank), ("i64", shapes, v.rank)], k=k)
        return
    largest = g.choose((None, 0)) if g.opset >= 11 else None
    outputs = [(v.dtype, shapes, v.rank), ("i64", shapes, v.rank)]
    g.emit("TopK", [v, g.ints([k])], outputs, axis=g.choose((None, axis)), largest=largest)


def matmul(g: Gen) -> None:
    """MatMul with a weight or a value, vectors and stacks included."""
    v = ranked(g, 1, 4, "f32", "f32", "f64", "f16", "i32", "i64")
    inner = v.fixed()[-1]
    others = [w for w in g.visible() if w.dtype == v.dtype and w.shapes is not None and w.rank and _inner(v, w)]
    if others and g.chance(0.4):
        w = g.rng.choice(others)
    elif inner:
        dims = g.choose(((inner, 3), (inner, 3), (inner, inner), (inner,), (2, inner, 2)))
        w = g.weight(v.dtype, dims)
    else:
        raise NoFit("not fixed")
    y = g.one("MatMul", [v, w], v.dtype, each(_product, v.known(), w.known()))
    if g.chance(0.4) and w.rank == 2 and v.dtype in FLOATS:
        g.one("Add", [y, g.weight(v.dtype, (w.at(0)[1],))], v.dtype, y.known())


def _inner(v: Val, w: Val) -> bool:
    return all(s[-1] == (t[-2] if len(t) > 1 else t[0]) for s, t in zip(v.known(), w.known()))


def _product(a: Shape, b: Shape) -> Shape:
    return tuple(np.matmul(np.broadcast_to(0, a), np.broadcast_to(0, b)).shape)


def gemm(g: Gen) -> None:
    """Gemm with every combination of its attributes, and C of every shape."""
    v = ranked(g, 2, 2, "f32", "f32", "f64")
    trans_a, trans_b = g.chance(0.2), g.chance(0.5)
    inner = v.fixed()[0 if trans_a else 1]
    if not inner:
        raise NoFit("not fixed")
    w = g.weight(v.dtype, (3, inner) if trans_b else (inner, 3))
    shapes = each(lambda s: (s[1 if trans_a else 0], 3), v.known())
    c = g.weight(v.dtype, g.choose(((3,), (3,), (1, 3), (), (1,)))) if g.opset < 11 or g.chance(0.7) else None
    attrs = {"alpha": g.choose((None, None, 0.5)), "beta": g.choose((None, None, 2.0))}
    y = g.one(
        "Gemm", [v, w, c], v.dtype, shapes, transA=int(trans_a) or None, transB=int(trans_b) if trans_b or g.chance(0.2) else None, **attrs
    )
    if g.chance(0.4):
        follow(g, y)


def image(g: Gen, dtype: str = "f32", rank: int = 4) -> Val:
    """A value that looks like an image: batch, channels, spatial axes of size 2 at least."""
    try:
        return g.pick(dtype, where=lambda v: v.rank == rank and v.fixed()[1] is not None and v.least(1) > 0 and min(v.least(i) for i in range(2, rank)) > 1)
    except NoFit:
        spatial = [g.rng.choice((3, 4, 5, 7)) for _ in range(rank - 2)]
        return g.new_input(dtype, [g.choose((1, 2, *g.symbols)), g.choose((1, 2, 3, 4)), *spatial])


def _window(size: int, kernel: int, stride: int, before: int, after: int, dilation: int, ceil: bool) -> int:
    room = size + before + after - dilation * (kernel - 1) - 1
    if room < 0:
        raise ValueError("the window does not fit")
    return (-(-room // stride) if ceil else room // stride) + 1


def _geometry(g: Gen, v: Val, dilated: bool) -> tuple[list[int], dict[str, Any], Any]:
    """Kernel sizes, attributes, and the function of the spatial sizes."""
    rank = v.rank - 2
    kernel = [g.rng.randrange(1, min(3, v.least(i + 2)) + 1) for i in range(rank)]
    strides = [g.rng.choice((1, 1, 2)) for _ in range(rank)]
    dilations = [g.rng.choice((1, 1, 2)) if dilated and k > 1 and v.least(i + 2) > 2 else 1 for i, k in enumerate(kernel)]
    attrs: dict[str, Any] = {"kernel_shape": kernel}
    if any(s != 1 for s in strides) or g.chance(0.3):
        attrs["strides"] = strides
    if any(d != 1 for d in dilations):
        attrs["dilations"] = dilations
    auto = g.choose((None, None, None, "SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"))
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        if any(d != 1 for d in dilations) or any(t > k for t, k in zip(strides, kernel)):
            raise NoFit("onnxruntime refuses some of these")
        attrs["auto_pad"] = auto
        return kernel, attrs, lambda s: [-(-d // t) for d, t in zip(s[2:], strides)]
    attrs["auto_pad"] = auto
    before = [0 if auto == "VALID" else g.rng.randrange(0, min(k, 2)) for k in kernel]
    after = [0 if auto == "VALID" else g.rng.randrange(0, min(k, 2)) for k in kernel]
    if auto != "VALID" and (any(before + after) or g.chance(0.3)):
        attrs["pads"] = before + after

    def spatial(s: Shape) -> list[int]:
        return [_window(*x, False) for x in zip(s[2:], kernel, strides, before, after, dilations)]

    return kernel, attrs, spatial


def conv(g: Gen) -> None:
    """Conv with groups, dilations, strides and every auto_pad; often followed by what folds into it."""
    v = image(g, g.choose(("f32", "f32", "f32", "f64", "f16")), g.choose((4, 4, 4, 3, 5)))
    channels = v.fixed()[1] or 1
    groups = g.choose([d for d in (1, 1, channels, 2) if channels % d == 0])
    outputs = groups * g.rng.choice((1, 2, 3))
    kernel, attrs, spatial = _geometry(g, v, True)
    w = g.weight(v.dtype, (outputs, channels // groups, *kernel))
    b = g.weight(v.dtype, (outputs,)) if g.chance(0.5) else None
    if g.chance(0.3):
        del attrs["kernel_shape"]
    shapes = each(lambda s: (s[0], outputs, *spatial(s)), v.known())
    y = g.one("Conv", [v, w, b], v.dtype, shapes, group=groups if groups > 1 or g.chance(0.2) else None, **attrs)
    follow(g, y)


def conv_transpose(g: Gen) -> None:
    """ConvTranspose with groups, output padding and explicit pads."""
    v = image(g, "f32", g.choose((4, 4, 3)))
    channels = v.fixed()[1] or 1
    groups = g.choose([d for d in (1, 1, channels) if channels % d == 0])
    outputs = g.rng.choice((1, 2, 3))
    rank = v.rank - 2
    kernel = [g.rng.choice((1, 2, 3)) for _ in range(rank)]
    strides = [g.rng.choice((1, 2)) for _ in range(rank)]
    pads = [g.rng.randrange(0, min(k, 2)) for k in kernel]
    extra = [g.rng.choice((0, 0, 1)) if s > 1 else 0 for s in strides]

    def spatial(s: Shape) -> list[int]:
        return [(d - 1) * t + k - 2 * p + e for d, t, k, p, e in zip(s[2:], strides, kernel, pads, extra)]

    w = g.weight("f32", (channels, outputs, *kernel))
    b = g.weight("f32", (outputs * groups,)) if g.chance(0.5) else None
    shapes = each(lambda s: (s[0], outputs * groups, *spatial(s)), v.known())
    y = g.one(
        "ConvTranspose", [v, w, b], "f32", shapes, strides=strides, pads=pads * 2 if any(pads) else None,
        output_padding=extra if any(extra) else None, group=groups if groups > 1 else None, kernel_shape=kernel,
    )  # fmt: skip
    follow(g, y)


def batch_norm(g: Gen, v: Val, training: bool = False) -> Val:
    """BatchNormalization with made-up statistics."""
    channels = v.fixed()[1] or 1
    scale, bias, mean = (g.weight(v.dtype, (channels,)) for _ in range(3))
    var = g.weight(v.dtype, (channels,), low=0.25, high=2.0)
    epsilon = g.choose((None, 1e-3, 1e-5))
    return g.emit("BatchNormalization", [v, scale, bias, mean, var], [(v.dtype, v.shapes, v.rank)], epsilon=epsilon)[0]


def follow(g: Gen, y: Val) -> Val:
    """What may fold into the layer that made y: normalisation, scale, shift, activation."""
    channels = y.fixed()[1] or 1
    for _ in range(g.rng.choice((0, 1, 1, 2, 3))):
        kind = g.rng.randrange(4)
        if kind == 0:
            y = batch_norm(g, y)
            continue
        shape = g.choose(((channels, *[1] * (y.rank - 2)), (1, channels, *[1] * (y.rank - 2)), (), (1,), [1] * y.rank))
        if kind == 1:
            y = g.like(g.choose(("Mul", "Div")), [y, g.weight(y.dtype, shape, low=0.5, high=2.0)], y)
        elif kind == 2:
            operands = [y, g.weight(y.dtype, shape)]
            op = g.choose(("Add", "Sub"))
            y = g.like(op, operands[::-1] if op == "Add" and g.chance(0.3) else operands, y)
        else:
            y = g.like(g.choose(("Relu", "Sigmoid", "LeakyRelu")), [y], y)
    return y


def normalise(g: Gen) -> None:
    """The normalisations of images."""
    v = image(g, g.choose(("f32", "f32", "f64")), g.choose((4, 3)))
    channels = v.fixed()[1] or 1
    op = g.choose(("BatchNormalization", "BatchNormalization", "InstanceNormalization", "LRN", "LpNormalization", "MeanVarianceNormalization", "GroupNormalization"))
    if op == "BatchNormalization":
        follow(g, batch_norm(g, v))
    elif op == "InstanceNormalization":
        follow(g, g.like(op, [v, g.weight(v.dtype, (channels,)), g.weight(v.dtype, (channels,))], v))
    elif op == "LRN":
        if v.rank != 4:
            raise NoFit("images only")
        g.like(op, [v], v, size=g.choose((1, 3)))
    elif op == "LpNormalization":
        g.like(op, [v], v, axis=g.choose((None, 1)), p=g.choose((None, 1)))
    elif op == "GroupNormalization":
        groups = g.choose([d for d in (1, channels) if channels % d == 0])
        count = channels if g.opset >= 21 else groups
        g.like(op, [v, g.weight(v.dtype, (count,)), g.weight(v.dtype, (count,))], v, num_groups=groups)
    else:
        g.like(op, [v], v)


def layer_norm(g: Gen) -> None:
    """LayerNormalization and RMSNormalization."""
    v = ranked(g, 1, 4, "f32", "f64")
    last = v.fixed()[-1]
    if not last:
        raise NoFit("not fixed")
    if g.opset >= 23 and g.chance(0.5):
        g.like("RMSNormalization", [v, g.weight(v.dtype, (last,))], v)
        return
    bias = g.weight(v.dtype, (last,)) if g.chance(0.6) else None
    g.like("LayerNormalization", [v, g.weight(v.dtype, (last,)), bias], v, axis=g.choose((None, -1)), epsilon=g.choose((None, 1e-3)))


def softmax(g: Gen) -> None:
    """Softmax and its like along any axis, in the old sense before 13."""
    v = ranked(g, 1, 4, "f32", "f64", "f16")
    axis = g.choose((None, axis_of(g, v) if g.opset >= 11 else g.rng.randrange(v.rank)))
    if axis is None and g.opset < 13 and v.rank < 2:
        axis = 0
    g.like(g.choose(("Softmax", "Softmax", "LogSoftmax", "Hardmax")), [v], v, axis=axis)


def pool(g: Gen) -> None:
    """Pooling by windows or over everything."""
    v = image(g, "f32", g.choose((4, 4, 3)))
    if g.chance(0.25):
        op = g.choose(("GlobalAveragePool", "GlobalMaxPool"))
        g.one(op, [v], v.dtype, each(lambda s: s[:2] + (1,) * (len(s) - 2), v.known()))
        return
    op = g.choose(("MaxPool", "AveragePool", "LpPool"))
    _, attrs, spatial = _geometry(g, v, False)
    shapes = each(lambda s: (*s[:2], *spatial(s)), v.known())
    if op == "AveragePool":
        attrs["count_include_pad"] = g.choose((None, 1))
    if op == "MaxPool" and g.chance(0.2):
        g.emit(op, [v], [(v.dtype, shapes, v.rank), ("i64", shapes, v.rank)], **attrs)
        return
    g.one(op, [v], v.dtype, shapes, **attrs)


def recurrent(g: Gen) -> None:
    """LSTM, GRU and RNN with operands and outputs left out; states of zeros made in several ways."""
    op, gates = g.choose((("LSTM", 4), ("GRU", 3), ("RNN", 1)))
    v = g.some("f32", rank=3)
    size, hidden = v.fixed()[2], g.rng.choice((1, 2, 3))
    if not size or v.is_empty():
        raise NoFit("not fixed")
    direction = g.choose(("forward", "forward", "reverse", "bidirectional"))
    ways = 2 if direction == "bidirectional" else 1
    operands: list[Val | None] = [v, g.weight("f32", (ways, gates * hidden, size)), g.weight("f32", (ways, gates * hidden, hidden))]
    operands.append(g.weight("f32", (ways, 2 * gates * hidden)) if g.chance(0.5) else None)
    operands.append(None)
    states = 2 if op == "LSTM" else 1
    state_shape = each(lambda s: (ways, s[1], hidden), v.known())
    if g.chance(0.6):
        operands += [_state(g, v, ways, hidden) for _ in range(states)]
    outputs: list[Any] = [
        ("f32", each(lambda s: (s[0], ways, s[1], hidden), v.known()), 4) if g.chance(0.8) else None,
        *(("f32", state_shape, 3) if g.chance(0.7) else None for _ in range(states)),
    ]
    while outputs and outputs[-1] is None:
        outputs.pop()
    if not outputs:
        raise NoFit("no outputs")
    g.emit(op, operands, outputs, hidden_size=hidden, direction=direction if direction != "forward" else None)


def _state(g: Gen, v: Val, ways: int, hidden: int) -> Val:
    batch = v.fixed()[1]
    if batch is not None and g.chance(0.5):
        return g.const(np.zeros((ways, batch, hidden), np.float32)) if g.chance(0.5) else g.weight("f32", (ways, batch, hidden))
    shape = g.one("Shape", [v], "i64", ((3,),) * 3)
    size = g.one("Gather", [shape, g.ints([1])], "i64", ((1,),) * 3)
    target = g.one("Concat", [g.ints([ways]), size, g.ints([hidden])], "i64", ((3,),) * 3, axis=0)
    shapes = each(lambda s: (ways, s[1], hidden), v.known())
    if g.chance(0.5):
        return g.one("Expand", [g.const(np.zeros((1, 1, 1), np.float32)), target], "f32", shapes)
    return g.one("ConstantOfShape", [target], "f32", shapes)


def resize(g: Gen) -> None:
    """Resize by constant scales or sizes."""
    v = image(g)
    if g.opset < 11:
        raise NoFit("older")
    nearest = g.chance(0.6)
    attrs = {"mode": "nearest" if nearest else "linear", "coordinate_transformation_mode": g.choose(("asymmetric", "half_pixel"))}
    if nearest:
        attrs["nearest_mode"] = "floor"
    roi = g.const(np.zeros(0, np.float32)) if g.opset < 13 else None
    if g.chance(0.6) or None in v.fixed():
        scales = g.const(np.array([1, 1, g.choose((1, 2)), g.choose((1, 2))], np.float32))
        factors = scales.const if scales.const is not None else np.ones(4)
        shapes = each(lambda s: [int(d * f) for d, f in zip(s, factors)], v.known())
        g.one("Resize", [v, roi, scales], "f32", shapes, **attrs)
        return
    sizes = [*v.at(0)[:2], g.rng.choice((2, 4, 6)), g.rng.choice((2, 4, 6))]
    empty = g.const(np.zeros(0, np.float32)) if g.opset < 13 else None
    g.one("Resize", [v, roi, empty, g.ints(sizes)], "f32", (tuple(sizes),) * 3, **attrs)


def attention(g: Gen) -> None:
    """Attention as an operator, or spelled out."""
    heads, size = g.choose((1, 2)), g.choose((2, 4))
    q, k, v = (g.new_input("f32", [g.choose((1, 2)), heads, g.choose((2, 3)), size]) for _ in range(3))
    if q.at(0)[0] != k.at(0)[0] or k.at(0) != v.at(0):
        k = v = q
    if g.opset >= 23 and g.chance(0.4):
        g.like("Attention", [q, k, v], q)
        return
    kt = g.one("Transpose", [k], "f32", each(lambda s: (s[0], s[1], s[3], s[2]), k.known()), perm=[0, 1, 3, 2])
    scores = g.one("MatMul", [q, kt], "f32", each(_product, q.known(), kt.known()))
    scaled = g.like(g.choose(("Div", "Mul")), [scores, g.const(np.asarray(math.sqrt(size), np.float32))], scores)
    weights = g.like("Softmax", [scaled], scaled, axis=-1 if g.opset >= 11 else 3)
    g.like("MatMul", [weights, v], q)


STEPS = [
    (reduce, 5.0), (reduce_loose, 0.7), (arg, 1.0), (topk, 1.0), (matmul, 5.0), (gemm, 3.0), (conv, 4.0), (conv_transpose, 1.5),
    (normalise, 3.0), (layer_norm, 1.5), (softmax, 2.0), (pool, 2.5), (recurrent, 1.5), (resize, 1.0), (attention, 0.7),
]  # fmt: skip
