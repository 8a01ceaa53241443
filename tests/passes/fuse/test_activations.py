"""Every spelling of an activation function becomes one operator, whichever way its operands stand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from time import process_time

import numpy as np
import pytest

import geoc
from geoc.passes.base import Context

from .spelling import Formula, Spelling, check_numbers, operators, orders, passes

K = math.sqrt(2 / math.pi)
ENDINGS = ("returned", "user", "branch")
Gate = Callable[[Spelling, str, str], str]


def half(s: Spelling, v: str) -> str:
    return s.over(v, 2.0)


GATES: dict[str, Gate] = {
    "x (f + 1) / 2": lambda s, x, f: half(s, s.op("Mul", x, s.op("Add", f, 1.0))),
    "(x / 2) (f + 1)": lambda s, x, f: s.op("Mul", half(s, x), s.op("Add", f, 1.0)),
    "x ((f + 1) / 2)": lambda s, x, f: s.op("Mul", x, half(s, s.op("Add", f, 1.0))),
    "x (f / 2 + 0.5)": lambda s, x, f: s.op("Mul", x, s.op("Add", half(s, f), 0.5)),
    "(x + x f) / 2": lambda s, x, f: half(s, s.op("Add", x, s.op("Mul", x, f))),
    "x / 2 + (x / 2) f": lambda s, x, f: s.op("Add", half(s, x), s.op("Mul", half(s, x), f)),
    "x / 2 + x f / 2": lambda s, x, f: s.op("Add", half(s, x), half(s, s.op("Mul", x, f))),
    "x / 2 + x (f / 2)": lambda s, x, f: s.op("Add", half(s, x), s.op("Mul", x, half(s, f))),
}
CUBES: dict[str, Callable[[Spelling, str, float], str]] = {  # a x^3
    "a pow(x, 3)": lambda s, x, a: s.op("Mul", s.op("Pow", x, 3.0), a),
    "a (x (x x))": lambda s, x, a: s.op("Mul", s.op("Mul", x, s.op("Mul", x, x)), a),
    "a (x pow(x, 2))": lambda s, x, a: s.op("Mul", s.op("Mul", x, s.op("Pow", x, 2.0)), a),
    "x (a (x x))": lambda s, x, a: s.op("Mul", x, s.op("Mul", s.op("Mul", x, x), a)),
    "((a x) x) x": lambda s, x, a: s.op("Mul", s.op("Mul", s.op("Mul", x, a), x), x),
    "(a x) (x x)": lambda s, x, a: s.op("Mul", s.op("Mul", x, a), s.op("Mul", x, x)),
}
CURVES: dict[str, Callable[[Spelling, str, str, float], str]] = {  # k (x + a x^3)
    "k (x + c)": lambda s, x, c, k: s.op("Mul", s.op("Add", x, CUBES[c](s, x, 0.044715)), k),
    "k x + c": lambda s, x, c, k: s.op("Add", s.op("Mul", x, k), CUBES[c](s, x, 0.044715 * k)),
}
FACTORED: dict[str, Callable[[Spelling, str, str, float], str]] = {  # with 1 + a x^2
    "k (x q)": lambda s, x, q, k: s.op("Mul", s.op("Mul", x, s.op("Add", SQUARES[q](s, x, 0.044715), 1.0)), k),
    "(k x) q": lambda s, x, q, k: s.op("Mul", s.op("Mul", x, k), s.op("Add", SQUARES[q](s, x, 0.044715), 1.0)),
    "x (k q)": lambda s, x, q, k: s.op("Mul", x, s.op("Mul", s.op("Add", SQUARES[q](s, x, 0.044715), 1.0), k)),
    "x (k + ka x^2)": lambda s, x, q, k: s.op("Mul", x, s.op("Add", SQUARES[q](s, x, 0.044715 * k), k)),
}
SQUARES: dict[str, Callable[[Spelling, str, float], str]] = {
    "a (x x)": lambda s, x, a: s.op("Mul", s.op("Mul", x, x), a),
    "a pow(x, 2)": lambda s, x, a: s.op("Mul", s.op("Pow", x, 2.0), a),
    "(a x) x": lambda s, x, a: s.op("Mul", s.op("Mul", x, a), x),
}
ARGUMENTS = [(CURVES[curve], cube) for curve in CURVES for cube in CUBES]
ARGUMENTS += [(FACTORED[curve], square) for curve in FACTORED for square in SQUARES]


def erf_gelu(gate: str, negated: bool = False) -> Formula:
    def formula(s: Spelling, x: str) -> str:
        if negated:  # 1 - erf(-z)
            f = s.op("Erf", s.over(x, -math.sqrt(2)))
            return half(s, s.op("Mul", x, s.op("Sub", 1.0, f)))
        return GATES[gate](s, x, s.op("Erf", s.over(x, math.sqrt(2))))

    return formula


def tanh_gelu(gate: str, curve: Callable[..., str], power: str) -> Formula:
    return lambda s, x: GATES[gate](s, x, s.op("Tanh", curve(s, x, power, K)))


def becomes(formula: Formula, wanted: str, dtype: str, division: bool, most: int, ending: str = "returned") -> None:
    """Every operand order gives one operator; the first and the last compute what they did."""
    tried = list(orders(formula, most, division))
    for order in tried:
        spelling = Spelling(formula, order, division)
        after = spelling.model(dtype, ending)
        assert operators(after, "activations") == Counter({wanted: 1}), spelling.text(dtype, ending)
        if order in (tried[0], tried[-1]):
            check_numbers(spelling.model(dtype, ending), after)


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("division", [False, True])
@pytest.mark.parametrize("gate", GATES)
def test_gelu_by_erf(gate: str, division: bool, dtype: str) -> None:
    becomes(erf_gelu(gate), "Gelu", dtype, division, most=64)


@pytest.mark.parametrize("division", [False, True])
def test_gelu_by_the_error_function_of_minus_x(division: bool) -> None:
    becomes(erf_gelu("", negated=True), "Gelu", "f32", division, most=16)


@pytest.mark.parametrize("gate", ["x (f + 1) / 2", "(x / 2) (f + 1)"])
def test_gelu_by_tanh_in_every_order(gate: str) -> None:
    becomes(tanh_gelu(gate, CURVES["k (x + c)"], "a pow(x, 3)"), "Gelu", "f32", False, most=256)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("curve", "power"), ARGUMENTS)
def test_gelu_by_tanh(gate: str, curve: Callable[..., str], power: str) -> None:
    formula = tanh_gelu(gate, curve, power)
    for order in orders(formula, 5):
        after = Spelling(formula, order).model()
        assert operators(after, "activations") == Counter({"Gelu": 1})
    becomes(formula, "Gelu", "f16", True, most=2)


@pytest.mark.parametrize(("curve", "power"), ARGUMENTS)
def test_gelu_by_sigmoid(curve: Callable[..., str], power: str) -> None:
    becomes(lambda s, x: s.op("Mul", x, s.op("Sigmoid", curve(s, x, power, 2 * K))), "Gelu", "f32", False, most=4)


EXP = {
    "Reciprocal": lambda s, n: s.op("Reciprocal", s.op("Add", s.op("Exp", n), 1.0)),
    "Div": lambda s, n: s.op("Div", 1.0, s.op("Add", s.op("Exp", n), 1.0)),
}


def log_exp(s: Spelling, v: str) -> str:
    return s.op("Log", s.op("Add", s.op("Exp", v), 1.0))


def relu6(s: Spelling, v: str, how: str) -> str:
    if how == "min max":
        return s.op("Min", s.op("Max", v, 0.0), 6.0)
    if how == "max min":
        return s.op("Max", s.op("Min", v, 6.0), 0.0)
    if how == "min relu":
        return s.op("Min", s.op("Relu", v), 6.0)
    if how == "clip relu":
        return s.op("Clip", s.op("Relu", v), -1.0, 6.0)
    if how == "relu clip":
        return s.op("Relu", s.op("Clip", v, -1.0, 6.0))
    return s.op("Clip", v, 0.0, 6.0)


RELU6 = ("clip", "min max", "max min", "min relu", "clip relu", "relu clip")


def hard_swish(how: str, grouping: int) -> Formula:
    def formula(s: Spelling, x: str) -> str:
        inner = relu6(s, s.op("Add", x, 3.0), how)
        if grouping == 0:
            return s.over(s.op("Mul", x, inner), 6.0)
        if grouping == 1:
            return s.op("Mul", x, s.over(inner, 6.0))
        return s.op("Mul", s.over(x, 6.0), inner)

    return formula


FORMULAS: dict[str, tuple[str, Formula]] = {
    "swish": ("Swish", lambda s, x: s.op("Mul", x, s.op("Sigmoid", x))),
    "quick gelu": ("Swish", lambda s, x: s.op("Mul", x, s.op("Sigmoid", s.over(x, 1 / 1.702)))),
    "x / (1 + exp(-x))": ("Swish", lambda s, x: s.op("Div", x, s.op("Add", s.op("Exp", s.op("Neg", x)), 1.0))),
    "x / (1 + exp(-1.702 x))": (
        "Swish",
        lambda s, x: s.op("Div", x, s.op("Add", s.op("Exp", s.op("Mul", x, -1.702)), 1.0)),
    ),
    **{f"x {name}(exp)": ("Swish", lambda s, x, e=e: s.op("Mul", x, e(s, s.op("Neg", x)))) for name, e in EXP.items()},
    **{f"swish {g}": ("Swish", lambda s, x, g=g: GATES[g](s, x, s.op("Tanh", half(s, x)))) for g in GATES},
    **{f"sigmoid {name}": ("Sigmoid", lambda s, x, e=e: e(s, s.op("Neg", x))) for name, e in EXP.items()},
    "sigmoid tanh": ("Sigmoid", lambda s, x: half(s, s.op("Add", s.op("Tanh", half(s, x)), 1.0))),
    "tanh": ("Tanh", lambda s, x: s.op("Sub", s.op("Mul", s.op("Sigmoid", s.op("Mul", x, 2.0)), 2.0), 1.0)),
    "mish": ("Mish", lambda s, x: s.op("Mul", x, s.op("Tanh", s.op("Softplus", x)))),
    "mish exp": ("Mish", lambda s, x: s.op("Mul", x, s.op("Tanh", log_exp(s, x)))),
    "softplus": ("Softplus", lambda s, x: s.op("Add", s.op("Max", x, 0.0), log_exp(s, s.op("Neg", s.op("Abs", x))))),
    "softplus where": ("Softplus", lambda s, x: s.op("Where", s.op("Greater", x, 20.0), x, log_exp(s, x))),
    "softsign": ("Softsign", lambda s, x: s.op("Div", x, s.op("Add", s.op("Abs", x), 1.0))),
    "relu": ("Relu", lambda s, x: s.op("Max", x, 0.0)),
    **{f"relu6 {how}": ("Clip", lambda s, x, how=how: relu6(s, x, how)) for how in RELU6},
    **{f"hard swish {how} {g}": ("HardSwish", hard_swish(how, g)) for how in RELU6 for g in range(3)},
    **{
        f"hard sigmoid {how}": ("HardSigmoid", lambda s, x, how=how: s.over(relu6(s, s.op("Add", x, 3.0), how), 6.0))
        for how in RELU6
    },
    "hard sigmoid": (
        "HardSigmoid",
        lambda s, x: s.op("Clip", s.op("Add", s.op("Mul", x, 0.2), 0.5), 0.0, 1.0),
    ),
    "leaky relu": ("LeakyRelu", lambda s, x: s.op("Max", x, s.op("Mul", x, 0.1))),
    "leaky where": ("LeakyRelu", lambda s, x: s.op("Where", s.op("Greater", x, 0.0), x, s.op("Mul", x, 0.1))),
    "leaky relu - relu": (
        "LeakyRelu",
        lambda s, x: s.op("Sub", s.op("Relu", x), s.op("Mul", s.op("Relu", s.op("Neg", x)), 0.1)),
    ),
    "elu": (
        "Elu",
        lambda s, x: s.op("Where", s.op("Greater", x, 0.0), x, s.op("Mul", s.op("Sub", s.op("Exp", x), 1.0), 0.5)),
    ),
    "elu relu": ("Elu", lambda s, x: s.op("Add", s.op("Relu", x), s.op("Min", s.op("Sub", s.op("Exp", x), 1.0), 0.0))),
    "selu": ("Selu", lambda s, x: s.op("Mul", s.op("Elu", x), 1.05)),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name: str, dtype: str, ending: str) -> None:
    wanted, formula = FORMULAS[name]
    most = 16 if ending == "returned" else 2
    if (name, dtype) == ("softplus where", "f16"):
        assert wanted not in operators(Spelling(formula).model(dtype), "activations")  # exp(20) is infinite
        return
    for division in (False, True):
        becomes(formula, wanted, dtype, division, most, ending)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "formula", [erf_gelu("x ((f + 1) / 2)"), tanh_gelu("x (f + 1) / 2", CURVES["k (x + c)"], "a pow(x, 3)")]
)
def test_where_a_gelu_ends(formula: Formula, ending: str) -> None:
    becomes(formula, "Gelu", "f32", False, 4, ending)


@pytest.mark.parametrize(
    ("formula", "wanted"),
    [
        *((erf_gelu(gate), "Gelu") for gate in GATES),
        (tanh_gelu("x (f + 1) / 2", CURVES["k (x + c)"], "a pow(x, 3)"), "Gelu"),
        (FORMULAS["swish"][1], "Swish"),
        (FORMULAS["quick gelu"][1], "Swish"),
        (FORMULAS["hard swish clip 0"][1], "HardSwish"),
        (FORMULAS["mish exp"][1], "Mish"),
    ],
)
def test_from_onnx_of_an_old_opset(formula: Formula, wanted: str, tmp_path: object) -> None:
    path = tmp_path / "model.onnx"  # type: ignore[operator]
    path.write_bytes(Spelling(formula).onnx(13))
    for level in (f"@O1,repeat(4){{activations,{'identity,affine,cse,dce'}}}", "activations"):
        assert operators(geoc.load(path), level) == Counter({wanted: 1})


@pytest.mark.parametrize("number", [0.5, 1.0, 2.0])
def test_the_clean_up_may_have_moved_the_half(number: float) -> None:
    # x (1 + erf) / 2 times a factor for each channel, which becomes one with the half.
    gelu = erf_gelu("x (f + 1) / 2")
    spelling = Spelling(lambda s, x: s.op("Mul", gelu(s, x), number))
    after = spelling.model()
    left = operators(after, "affine,repeat(4){activations,affine,identity,dce}")
    assert left == Counter({"Gelu": 1, "Mul": 1} if number != 1.0 else {"Gelu": 1})
    check_numbers(spelling.model(), after)


WRONG: dict[str, Formula] = {
    "erf of x / 2": lambda s, x: half(s, s.op("Mul", x, s.op("Add", s.op("Erf", half(s, x)), 1.0))),
    "2 and not 1": lambda s, x: half(s, s.op("Mul", x, s.op("Add", s.op("Erf", s.over(x, math.sqrt(2))), 2.0))),
    "tanh of x": lambda s, x: half(s, s.op("Mul", x, s.op("Add", s.op("Tanh", x), 1.0))),
    "a fourth power": lambda s, x: GATES["x (f + 1) / 2"](
        s, x, s.op("Tanh", s.op("Mul", s.op("Add", x, s.op("Mul", s.op("Pow", x, 4.0), 0.044715)), K))
    ),
    "log(1 + exp(x))": log_exp,
    "a shift of 2": lambda s, x: s.over(s.op("Mul", x, s.op("Clip", s.op("Add", x, 2.0), 0.0, 6.0)), 6.0),
    "max(x, 2 x)": lambda s, x: s.op("Max", x, s.op("Mul", x, 2.0)),
    "x / (2 + |x|)": lambda s, x: s.op("Div", x, s.op("Add", s.op("Abs", x), 2.0)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_looks_alike(name: str) -> None:
    for order in orders(WRONG[name], 32):
        before = Spelling(WRONG[name], order).model()
        after = Spelling(WRONG[name], order).model()
        assert operators(after, "activations") == operators(before, "dce")
        check_numbers(before, after)


def test_time_of_ten_thousand_nodes() -> None:
    def seconds(nodes: int) -> float:
        def chain(s: Spelling, x: str) -> str:
            for i in range(nodes // 6):
                gate = GATES["x (f + 1) / 2"](s, x, s.op("Erf", s.over(x, math.sqrt(2))))
                x = s.op("Add", gate if i % 2 else s.op("Mul", gate, x), x)
            return x

        model = Spelling(chain).model()
        start = process_time()
        passes("activations")[0].run(model, Context())
        return process_time() - start

    seconds(100)
    assert seconds(10_000) < 25 * max(seconds(1000), 5e-3)


def test_bounds_that_prove_an_exponential_finite() -> None:
    from geoc.passes.fuse.activations import interval

    def bounds(formula: Formula) -> tuple[float, float]:
        model = Spelling(formula).model()
        return interval(model.graph.outputs[0])

    assert bounds(lambda s, x: s.op("Clip", x, -2.0, 3.0)) == (-2.0, 3.0)
    assert bounds(lambda s, x: s.op("Neg", s.op("Clip", x, -2.0, 3.0))) == (-3.0, 2.0)
    assert bounds(lambda s, x: s.op("Min", s.op("Sigmoid", x), 0.25)) == (0.0, 0.25)
    assert bounds(lambda s, x: s.op("Max", s.op("Tanh", x), 0.25)) == (0.25, 1.0)
    assert bounds(lambda s, x: s.op("Relu", s.op("Neg", s.op("Abs", x)))) == (0.0, 0.0)
    assert bounds(lambda s, x: s.op("Relu", x)) == (0.0, np.inf)
    assert bounds(lambda s, x: s.op("Mul", s.op("Tanh", x), 3.0)) == (-np.inf, np.inf)
