"""Every spelling of a normalization becomes one operator, with numbers that numpy and onnxruntime agree on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from time import process_time
from typing import Any

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, Value
from geoc.ir.dims import symbol
from geoc.ir.types import BOOL, F16, F32, F64, I64, DType, tensor_type
from geoc.ir.verify import verify
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import BASE, CLEAN_UP, parse
from geoc.passes.registry import Registry

from ...golden import Runner

WIDTH = 8
EPSILON = 1e-3
PIPELINE = ",".join([*BASE, "repeat(4){norms", *CLEAN_UP]) + "}"
RANDOM = np.random.default_rng(7)
SCALE = RANDOM.normal(1, 0.3, (4, 3, WIDTH))
BIAS = RANDOM.normal(0, 0.5, (4, 3, WIDTH))
SIZES = ({"B": 1, "S": 1}, {"B": 1, "S": 4}, {"B": 3, "S": 5})

SQUARES = ("pow", "pow_int", "mul")
QUOTIENTS = (
    "div", "div_pow", "reciprocal_sqrt", "one_over_sqrt", "sqrt_reciprocal", "sqrt_one_over", "pow_minus_half",
)  # fmt: skip
MEANS = ("mean", "mean_unsqueeze", "sum_div", "sum_mul", "sum_unsqueeze")
CENTRES = ("sub", "add_neg", "twice")
AFFINE = ("both", "scale", "bias", "none", "ones", "factor_first", "factor_in_root")
PLACES = ("inside", "output", "branch")
TYPES = ("f32", "f16", "f16_cast")


@dataclass(frozen=True)
class Spelling:
    """One way to write LayerNormalization, or RMSNormalization where `centre` is empty."""

    centre: str = "sub"
    square: str = "pow"
    quotient: str = "div"
    mean: str = "mean"
    affine: str = "both"
    place: str = "inside"
    type: str = "f32"
    flipped: bool = False
    axes: tuple[int, ...] = (-1,)
    rank: int = 3

    def __str__(self) -> str:
        base = Spelling(centre=self.centre)
        return "-".join([self.centre or "rms", *(str(v) for k, v in vars(self).items() if v != getattr(base, k))])

    @property
    def normalized(self) -> int:
        """How many axes are normalized."""
        return len(self.axes)


@dataclass
class Writer:
    """Writes nodes; `flipped` swaps the operands of Add and Mul."""

    build: Builder
    flipped: bool = False
    dtype: DType = F32
    consts: dict[Any, Value] = field(default_factory=dict)

    def op(self, name: str, *inputs: Value, **attrs: Any) -> Value:
        if self.flipped and name in ("Add", "Mul"):
            inputs = inputs[::-1]
        return self.build.op(name, *inputs, **attrs)

    def number(self, value: Any, dtype: DType | None = None) -> Value:
        return self.build.const(np.asarray(value, (dtype or self.dtype).numpy))

    def mean(self, x: Value, how: str, axes: tuple[int, ...], count: int) -> Value:
        operand = self.build.ints(axes)
        if how == "mean":
            return self.op("ReduceMean", x, operand)
        if how == "mean_unsqueeze":
            return self.op("Unsqueeze", self.op("ReduceMean", x, operand, keepdims=0), operand)
        if how == "sum_unsqueeze":
            short = self.op("Div", self.op("ReduceSum", x, operand, keepdims=0), self.number(count))
            return self.op("Unsqueeze", short, operand)
        total = self.op("ReduceSum", x, operand)
        if how == "sum_div":
            return self.op("Div", total, self.number(count))
        return self.op("Mul", total, self.number(1 / count))

    def squared(self, x: Value, how: str) -> Value:
        if how == "mul":
            return self.op("Mul", x, x)
        return self.op("Pow", x, self.number(2, I64 if how == "pow_int" else None))

    def inverse_root(self, v: Value, how: str) -> Value:
        one = self.number(1)
        if how == "pow_minus_half":
            return self.op("Pow", v, self.number(-0.5))
        if how in ("sqrt_reciprocal", "sqrt_one_over"):
            turned = self.op("Reciprocal", v) if how == "sqrt_reciprocal" else self.op("Div", one, v)
            return self.op("Sqrt", turned)
        root = self.op("Sqrt", v)
        return self.op("Reciprocal", root) if how == "reciprocal_sqrt" else self.op("Div", one, root)

    def root(self, v: Value, how: str) -> Value:
        return self.op("Sqrt", v) if how == "div" else self.op("Pow", v, self.number(0.5))


def normalization(w: Writer, x: Value, s: Spelling) -> Value:
    """The nodes of one spelling."""
    shape = x.shape
    assert shape is not None
    whole = [int(d) for d in shape[len(shape) - s.normalized :]]  # type: ignore[arg-type]
    count = int(np.prod(whole))
    d = x
    if s.centre == "add_neg":
        d = w.op("Add", x, w.op("Neg", w.mean(x, s.mean, s.axes, count)))
    elif s.centre:
        d = w.op("Sub", x, w.mean(x, s.mean, s.axes, count))
    again = w.op("Sub", x, w.mean(x, s.mean, s.axes, count)) if s.centre == "twice" else d
    v = w.op("Add", w.mean(w.squared(d, s.square), s.mean, s.axes, count), w.number(EPSILON))
    scale, bias = w.number(SCALE[(0,) * (3 - s.normalized)]), w.number(BIAS[(0,) * (3 - s.normalized)])
    if s.affine == "ones":
        scale, bias = w.number(np.ones(whole)), w.number(np.zeros(whole))
    dividing = s.quotient in ("div", "div_pow")
    if s.affine == "factor_first":
        again = w.op("Mul", again, scale)
    if dividing:
        y = w.op("Div", again, w.root(v, s.quotient))
    else:
        factor = w.inverse_root(v, s.quotient)
        if s.affine == "factor_in_root":
            factor = w.op("Mul", factor, scale)
        y = w.op("Mul", again, factor)
    if s.affine in ("both", "scale", "ones"):
        y = w.op("Mul", y, scale)
    if s.affine in ("both", "bias", "ones") and s.centre:
        y = w.op("Add", y, bias)
    return y


def expected(x: np.ndarray[Any, Any], s: Spelling) -> np.ndarray[Any, Any]:
    """The same in float64."""
    x = x.astype(np.float64)
    axes = tuple(range(x.ndim - s.normalized, x.ndim))
    d = x - x.mean(axes, keepdims=True) if s.centre else x
    y = d / np.sqrt((d * d).mean(axes, keepdims=True) + EPSILON)
    scale, bias = SCALE[(0,) * (3 - s.normalized)], BIAS[(0,) * (3 - s.normalized)]
    if s.affine in ("both", "scale", "factor_first", "factor_in_root"):
        y = y * scale
    if s.affine in ("both", "bias") and s.centre:
        y = y + bias
    return np.asarray(y)


def cast_around(w: Writer, x: Value, s: Spelling) -> Value:
    """Statistics in f32 of an f16 tensor; scale and bias in f16."""
    inner = w.op("Cast", x, to=F32.onnx)
    w.dtype = F32
    y = w.op("Cast", normalization(w, inner, replace(s, affine="none")), to=F16.onnx)
    w.dtype = F16
    if s.affine in ("both", "scale"):
        y = w.op("Mul", y, w.number(SCALE[0, 0]))
    if s.affine in ("both", "bias") and s.centre:
        y = w.op("Add", y, w.number(BIAS[0, 0]))
    return y


def model_of(s: Spelling) -> Model:
    dims = [symbol("B"), symbol("S"), 3, WIDTH] if s.rank == 4 else [symbol("B"), symbol("S"), WIDTH]
    dtype = F32 if s.type == "f32" else F16
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(dtype, tuple(dims)))

    def body(inner: Graph) -> Value:
        w = Writer(Builder(inner), s.flipped, dtype)
        y = cast_around(w, x, s) if s.type == "f16_cast" else normalization(w, x, s)
        return w.op("Neg", y) if s.place == "inside" else y

    if s.place == "branch":
        flag = graph.add_input("flag", tensor_type(BOOL, ()))
        then, other = Graph("then"), Graph("else")
        then.set_outputs([body(then)], ["t"])
        other.set_outputs([Builder(other).op("Neg", x)], ["e"])
        node = Builder(graph).node("If", [flag], regions={"then_branch": then, "else_branch": other})
        graph.set_outputs([node.output], ["y"])
    else:
        graph.set_outputs([body(graph)], ["y"])
    return Model(graph)


def optimized(model: Model) -> Counter[str]:
    """Run the rules and the clean-up; the operators that remain."""
    run_pipeline(model, Registry().resolve(parse(PIPELINE)), Context())
    verify(model)
    return Counter(node.op.key for node in model.walk())


def spellings(centre: str) -> Iterator[Spelling]:
    base = Spelling(centre=centre)
    for square, quotient, flipped in product(SQUARES, QUOTIENTS, (False, True)):
        yield replace(base, square=square, quotient=quotient, flipped=flipped)
    for mean, quotient in product(MEANS[1:], ("div", "reciprocal_sqrt")):
        yield replace(base, mean=mean, quotient=quotient)
    for affine, place in product(AFFINE[1:], PLACES):
        quotient = "reciprocal_sqrt" if affine == "factor_in_root" else "div"
        yield replace(base, affine=affine, place=place, quotient=quotient)
    yield replace(base, affine="factor_first", quotient="pow_minus_half", flipped=True)
    for place, type_, affine in product(PLACES, TYPES[1:], AFFINE[:4]):
        yield replace(base, place=place, type=type_, affine=affine)
    for affine, square in product(AFFINE[:4], SQUARES):
        yield replace(base, affine=affine, square=square, axes=(-2, -1), rank=4)
    yield replace(base, axes=(2, 3), rank=4, place="output")
    yield replace(base, axes=(3,), rank=4, place="output", mean="mean_unsqueeze")


ALL = dict.fromkeys([
    *spellings("sub"), *spellings(""),
    *(replace(s, centre=c) for c in CENTRES[1:] for s in (Spelling(), Spelling(quotient="reciprocal_sqrt", mean="sum_div"))),
])  # fmt: skip


@pytest.mark.parametrize("s", ALL, ids=str)
def test_every_spelling_is_one_operator(s: Spelling) -> None:
    model = model_of(s)
    before = Runner(model)
    found = optimized(model)
    name = "LayerNormalization" if s.centre else "RMSNormalization"
    wanted = Counter({name: 1})
    if s.place == "inside":
        wanted["Neg"] += 1
    elif s.place == "branch":
        wanted += Counter({"Neg": 1, "If": 1})
    assert found == wanted
    after = Runner(model)
    for sizes in SIZES:
        random = np.random.default_rng(sizes["S"])
        shape = (sizes["B"], sizes["S"], WIDTH) if s.rank == 3 else (sizes["B"], sizes["S"], 3, WIDTH)
        x = random.normal(0.5, 2, shape).astype(np.float32 if s.type == "f32" else np.float16)
        feeds = {"x": x, "flag": np.array(True)} if s.place == "branch" else {"x": x}
        [got], [old] = after.run(feeds), before.run(feeds)
        exact = expected(x, s) * (-1 if s.place == "inside" else 1)
        tolerance = 2e-6 if s.type == "f32" else 4e-3
        assert got.dtype == x.dtype == old.dtype
        np.testing.assert_allclose(got, exact, tolerance, 4 * tolerance)
        np.testing.assert_allclose(got, old.astype(np.float64), 2 * tolerance, 8 * tolerance)


def test_scale_in_f32_before_the_cast() -> None:
    """The result of the operator would be rounded to f16 before the scale: the casts stay."""
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F16, (symbol("B"), symbol("S"), WIDTH)))
    w = Writer(Builder(graph))
    inner = normalization(w, w.op("Cast", x, to=F32.onnx), Spelling(centre="", affine="scale"))
    graph.set_outputs([w.op("Cast", inner, to=F16.onnx)], ["y"])
    assert optimized(Model(graph)) == {"Cast": 2, "RMSNormalization": 1}


def test_scale_of_one_plus_weight() -> None:
    """Gemma: the factor is 1 + w, which the clean-up computes."""
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (symbol("B"), symbol("S"), WIDTH)))
    w = Writer(Builder(graph))
    y = normalization(w, x, Spelling(centre="", affine="none", quotient="pow_minus_half"))
    graph.set_outputs([w.op("Mul", y, w.op("Add", w.number(1), w.number(SCALE[0, 0])))], ["y"])
    model = Model(graph)
    assert optimized(model) == {"RMSNormalization": 1}
    feed = np.random.default_rng(1).normal(size=(2, 3, WIDTH)).astype(np.float32)
    wanted = feed / np.sqrt((feed.astype(np.float64) ** 2).mean(-1, keepdims=True) + EPSILON) * (1 + SCALE[0, 0])
    np.testing.assert_allclose(Runner(model).run({"x": feed})[0], wanted, 1e-5, 1e-6)


# Spellings that are nearly a normalization.


def _other_tensor(w: Writer, x: Value) -> Value:
    """The mean of x + 1."""
    mean = w.mean(w.op("Add", x, w.number(1)), "mean", (-1,), WIDTH)
    d = w.op("Sub", x, mean)
    return w.op(
        "Div", d, w.op("Sqrt", w.op("Add", w.mean(w.squared(d, "mul"), "mean", (-1,), WIDTH), w.number(EPSILON)))
    )


def _other_axis(w: Writer, x: Value) -> Value:
    """The mean along the sequence."""
    d = w.op("Sub", x, w.mean(x, "mean", (1,), 0))
    return w.op(
        "Div", d, w.op("Sqrt", w.op("Add", w.mean(w.squared(d, "mul"), "mean", (-1,), WIDTH), w.number(EPSILON)))
    )


def _unbiased(w: Writer, x: Value) -> Value:
    """The variance over one less, as statistics packages have it."""
    d = w.op("Sub", x, w.mean(x, "mean", (-1,), WIDTH))
    total = w.op("ReduceSum", w.squared(d, "pow"), w.build.ints([-1]))
    return w.op("Div", d, w.op("Sqrt", w.op("Add", w.op("Div", total, w.number(WIDTH - 1)), w.number(EPSILON))))


def _epsilon_after(w: Writer, x: Value) -> Value:
    """Epsilon added to the deviation."""
    d = w.op("Sub", x, w.mean(x, "mean", (-1,), WIDTH))
    root = w.op("Sqrt", w.mean(w.squared(d, "mul"), "mean", (-1,), WIDTH))
    return w.op("Div", d, w.op("Add", root, w.number(0.5)))


def _epsilon_each(w: Writer, x: Value) -> Value:
    """An epsilon for each element."""
    d = w.op("Sub", x, w.mean(x, "mean", (-1,), WIDTH))
    v = w.op("Add", w.mean(w.squared(d, "mul"), "mean", (-1,), WIDTH), w.number(np.linspace(0.1, 1, WIDTH)))
    return w.op("Div", d, w.op("Sqrt", v))


def _another_divided(w: Writer, x: Value) -> Value:
    """x itself over the deviation."""
    d = w.op("Sub", x, w.mean(x, "mean", (-1,), WIDTH))
    v = w.op("Add", w.mean(w.squared(d, "mul"), "mean", (-1,), WIDTH), w.number(EPSILON))
    return w.op("Div", x, w.op("Sqrt", v))


def _not_square(w: Writer, x: Value) -> Value:
    """The mean of the cube of the magnitude."""
    d = w.op("Sub", x, w.mean(x, "mean", (-1,), WIDTH))
    v = w.op("Add", w.mean(w.op("Pow", w.op("Abs", d), w.number(3)), "mean", (-1,), WIDTH), w.number(EPSILON))
    return w.op("Div", d, w.op("Sqrt", v))


def _product(w: Writer, x: Value) -> Value:
    """The mean of x times something else."""
    v = w.op("Add", w.mean(w.op("Mul", x, w.op("Abs", x)), "mean", (-1,), WIDTH), w.number(50))
    return w.op("Div", x, w.op("Sqrt", v))


def _not_inverse(w: Writer, x: Value) -> Value:
    """x times the root instead of over it."""
    v = w.op("Add", w.mean(w.squared(x, "mul"), "mean", (-1,), WIDTH), w.number(EPSILON))
    return w.op("Mul", x, w.op("Sqrt", v))


def _two_over(w: Writer, x: Value) -> Value:
    """2 over the root."""
    v = w.op("Add", w.mean(w.squared(x, "mul"), "mean", (-1,), WIDTH), w.number(EPSILON))
    return w.op("Mul", x, w.op("Div", w.number(2), w.op("Sqrt", v)))


NEAR: dict[Callable[[Writer, Value], Value], tuple[str, ...]] = {
    # With what is left: x - m over its root of mean square is an RMSNormalization whatever m is.
    _other_tensor: ("RMSNormalization",), _other_axis: ("RMSNormalization",),
    _unbiased: (), _epsilon_after: (), _epsilon_each: (), _another_divided: (), _not_square: (), _product: (),
    _not_inverse: (), _two_over: (),
}  # fmt: skip


@pytest.mark.parametrize("near", NEAR, ids=lambda f: f.__name__[1:])
def test_what_is_nearly_one(near: Callable[[Writer, Value], Value]) -> None:
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (symbol("B"), symbol("S"), WIDTH)))
    graph.set_outputs([near(Writer(Builder(graph)), x)], ["y"])
    model = Model(graph)
    before = Runner(model)
    found = optimized(model)
    assert tuple(name for name in found if name.endswith("Normalization")) == NEAR[near]
    for batch, length in ((1, 1), (2, 5)):
        feed = {"x": np.random.default_rng(length).normal(1, 2, (batch, length, WIDTH)).astype(np.float32)}
        np.testing.assert_allclose(Runner(model).run(feed)[0], before.run(feed)[0], 1e-5, 1e-5)


def test_f64_is_left_alone() -> None:
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F64, (symbol("B"), symbol("S"), WIDTH)))
    graph.set_outputs([normalization(Writer(Builder(graph), dtype=F64), x, Spelling())], ["y"])
    assert not any(name.endswith("Normalization") for name in optimized(Model(graph)))


# Normalization by channels.

CHANNELS = 4


@dataclass(frozen=True)
class Grouped:
    """One way to write GroupNormalization, or InstanceNormalization where there are as many groups as channels."""

    how: str = "instance"
    groups: int = 2
    affine: str = "both"
    scale: tuple[int, ...] = (CHANNELS, 1, 1)
    spatial: tuple[int | str, ...] = (3, 5)

    def __str__(self) -> str:
        return "-".join(str(v).replace(" ", "") for v in vars(self).values())


def standardized(w: Writer, x: Value, axes: tuple[int, ...]) -> Value:
    """(x - mean) / sqrt(variance + epsilon)."""
    d = w.op("Sub", x, w.mean(x, "mean", axes, 0))
    v = w.op("Add", w.mean(w.squared(d, "pow"), "mean", axes, 0), w.number(EPSILON))
    return w.op("Div", d, w.op("Sqrt", v))


def grouped(w: Writer, x: Value, g: Grouped) -> Value:
    """The nodes of one spelling."""
    inner = int(np.prod([d for d in g.spatial if isinstance(d, int)])) * CHANNELS // g.groups
    target = {
        "flat": [-1, inner], "five": [0, g.groups, CHANNELS // g.groups, *(d for d in g.spatial if isinstance(d, int))],
    }.get(g.how, [0, g.groups, -1])  # fmt: skip
    if g.how == "direct":
        y = standardized(w, x, tuple(range(2, 2 + len(g.spatial))))
    else:
        r = w.op("Reshape", x, w.build.ints(target))
        if g.how == "instance":
            y = w.op("InstanceNormalization", r, w.number([1] * g.groups), w.number([0] * g.groups), epsilon=EPSILON)
        elif g.how == "layer":
            y = w.op("LayerNormalization", r, w.number(np.ones(inner)), epsilon=EPSILON)
        else:
            y = standardized(w, r, {"five": (2, 3, 4), "flat": (1,)}.get(g.how, (2,)))
        y = w.op("Reshape", y, w.op("Shape", x))
    if g.affine in ("both", "scale"):
        y = w.op("Mul", y, w.number(SCALE[:CHANNELS, 0, 0].reshape(g.scale)))
    if g.affine == "both":
        y = w.op("Add", y, w.number(BIAS[:CHANNELS, 0, 0].reshape(g.scale)))
    return y


def group_spellings() -> Iterator[Grouped]:
    for how, groups in product(("instance", "layer", "means", "flat", "five"), (1, 2)):
        yield Grouped(how, groups)
        yield Grouped(how, groups, "scale", (1, CHANNELS, 1, 1))
        yield Grouped(how, groups, "none")
    for how, affine in product(("instance", "means"), ("both", "scale", "none")):
        yield Grouped(how, 2, affine, spatial=("H", "W"))
        yield Grouped(how, 1, affine, (CHANNELS, 1), ("L",))
    for affine in ("both", "scale", "none"):
        yield Grouped("instance", CHANNELS, affine)
        yield Grouped("instance", CHANNELS, affine, (1, CHANNELS, 1, 1), ("H", "W"))
    for spatial in ((3, 5), ("H", "W")):
        yield Grouped("direct", CHANNELS, "both", spatial=spatial)
        yield Grouped("direct", CHANNELS, "scale", (1, CHANNELS, 1, 1), spatial=spatial)


@pytest.mark.parametrize("g", dict.fromkeys(group_spellings()), ids=str)
def test_every_spelling_by_channels_is_one_operator(g: Grouped) -> None:
    graph = Graph("main")
    dims = [symbol(d) if isinstance(d, str) else d for d in g.spatial]
    x = graph.add_input("x", tensor_type(F32, (symbol("B"), CHANNELS, *dims)))
    graph.set_outputs([grouped(Writer(Builder(graph)), x, g)], ["y"])
    model = Model(graph)
    before = Runner(model)
    assert optimized(model) == {"InstanceNormalization" if g.groups == CHANNELS else "GroupNormalization": 1}
    for batch in (1, 3):
        shape = (batch, CHANNELS, *(4 if isinstance(d, str) else d for d in g.spatial))
        feed = np.random.default_rng(batch).normal(1, 2, shape).astype(np.float32)
        rows = feed.astype(np.float64).reshape(batch, g.groups, -1)
        d = rows - rows.mean(-1, keepdims=True)
        wanted = (d / np.sqrt((d * d).mean(-1, keepdims=True) + EPSILON)).reshape(shape)
        column = (CHANNELS, *(1,) * len(g.spatial))
        if g.affine in ("both", "scale"):
            wanted = wanted * SCALE[:CHANNELS, 0, 0].reshape(column)
        if g.affine == "both":
            wanted = wanted + BIAS[:CHANNELS, 0, 0].reshape(column)
        np.testing.assert_allclose(Runner(model).run({"x": feed})[0], wanted, 1e-5, 1e-5)
        np.testing.assert_allclose(before.run({"x": feed})[0], wanted, 1e-5, 1e-5)


def test_time_is_linear_in_matches() -> None:
    def seconds(layers: int) -> float:
        graph = Graph("main")
        x = graph.add_input("x", tensor_type(F32, (symbol("B"), symbol("S"), WIDTH)))
        w = Writer(Builder(graph))
        for _ in range(layers):
            x = w.op("Add", x, normalization(w, x, Spelling()))
        graph.set_outputs([x], ["y"])
        model = Model(graph)
        steps = Registry().resolve(parse("norms"))
        start = process_time()
        run_pipeline(model, steps, Context())
        assert len(model.graph) == 2 * layers
        return process_time() - start

    seconds(2)  # the rules are compiled now
    assert seconds(400) < 15 * seconds(40)
