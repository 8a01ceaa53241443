"""Every spelling of Softmax and LogSoftmax, at rows that are masked and numbers that overflow."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from geoc.ir.core import Model

from ...golden import Runner
from .spelling import Formula, Spelling, check_numbers, operators, orders


def below(s: Spelling, x: str, axis: int) -> str:
    return s.op("Sub", x, s.op("ReduceMax", x, s.constant([axis])))


def total(s: Spelling, e: str, axis: int) -> str:
    return s.op("ReduceSum", e, s.constant([axis]))


def softmax(s: Spelling, x: str, axis: int, reciprocal: bool) -> str:
    e = s.op("Exp", below(s, x, axis))
    return s.op("Mul", e, s.op("Reciprocal", total(s, e, axis))) if reciprocal else s.op("Div", e, total(s, e, axis))


def log_softmax(s: Spelling, x: str, axis: int, together: bool) -> str:
    if together:
        m = s.op("ReduceMax", x, s.constant([axis]))
        e = s.op("Exp", s.op("Sub", x, m))
        return s.op("Sub", x, s.op("Add", s.op("Log", total(s, e, axis)), m))
    d = below(s, x, axis)
    return s.op("Sub", d, s.op("Log", total(s, s.op("Exp", d), axis)))


@pytest.mark.parametrize("ending", ["returned", "user", "branch"])
@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("variant", [False, True])
def test_spellings(variant: bool, axis: int, dtype: str, ending: str) -> None:
    formulas: dict[str, Formula] = {
        "Softmax": lambda s, x: softmax(s, x, axis, variant),
        "LogSoftmax": lambda s, x: log_softmax(s, x, axis, variant),
    }
    for wanted, formula in formulas.items():
        for order in orders(formula, 8):
            after = Spelling(formula, order).model(dtype, ending)
            assert operators(after, "softmax") == Counter({wanted: 1})
            check_numbers(Spelling(formula, order).model(dtype, ending), after)


def run(model: Model, x: np.ndarray) -> np.ndarray:
    found: np.ndarray = Runner(model).run({"x": x, "flag": np.array(True)})[0]
    return found


ROWS = {
    "masked": [0.5, -np.inf, 2.0, -np.inf],
    "all masked": [-np.inf] * 4,
    "all masked by a number": [-1e9] * 4,
    "lowest": [np.finfo(np.float32).min, 0.0, np.finfo(np.float32).min, 1.0],
    "large": [1000.0, -1000.0, 3e38, 0.0],
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize(
    "formula",
    [
        lambda s, x: softmax(s, x, -1, False),
        lambda s, x: log_softmax(s, x, -1, False),
        lambda s, x: s.op("Exp", s.op("LogSoftmax", x)),
    ],
)
def test_rows_at_the_edge(formula: Formula, row: str) -> None:
    x = np.array([[ROWS[row]]], np.float32)
    after = Spelling(formula).model()
    assert sum(operators(after, "softmax").values()) == 1
    np.testing.assert_allclose(run(after, x), run(Spelling(formula).model(), x), 1e-5, 1e-6)


@pytest.mark.parametrize(
    "formula",
    [
        lambda s, x: s.op("Log", s.op("Softmax", x)),
        lambda s, x: (lambda e: s.op("Div", e, total(s, e, -1)))(s.op("Exp", x)),
    ],
)
def test_what_would_differ_stays(formula: Formula) -> None:
    x = np.array([[[300.0, -300.0, 0.0, 1.0]]], np.float32)
    model = Spelling(formula).model()
    before = operators(Spelling(formula).model(), "dce")
    assert operators(model, "softmax") == before
    assert not np.isfinite(run(model, x)).all()  # which LogSoftmax and Softmax are


@pytest.mark.parametrize("bound", ["Tanh", "Sigmoid", "Softmax"])
def test_bounds_make_it_the_same(bound: str) -> None:
    def formula(s: Spelling, x: str) -> str:
        e = s.op("Exp", s.op(bound, x))
        return s.op("Log", s.op("Div", e, total(s, e, -1)))

    after = Spelling(formula).model()
    assert operators(after, "softmax") == Counter([bound, "LogSoftmax"])
    check_numbers(Spelling(formula).model(), after)
