"""Single roundings against numpy, and all of them against the half-precision model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.ir.core import Model, Node
from geoc.ir.text import print_model
from geoc.passes.base import Context
from geoc.passes.precision.autocast import Autocast
from geoc.passes.precision.placement import Placement
from geoc.tools.search.rounding import Roundings, Source, sources_of

from ...passes.precision.conftest import FAST, Feeds, autocast, measured, model_of, run, write
from ...passes.precision.test_autocast import IF, LOOP, MASKED, SCAN, TWO

RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 64)).astype(np.float32)


def trial(model: Model, feeds: Feeds, to: str = "fp16") -> tuple[Placement, list[Source]]:
    placement = Autocast(to).placement(model, Context(capabilities=FAST, measure=measured(feeds)))
    assert placement is not None
    return placement, sources_of(placement, placement.halved())


def half(array: Any) -> Any:
    return array.astype(np.float16).astype(np.float32)


def test_each_alone_is_what_numpy_gives() -> None:
    text = """graph @main(%x: f32[64,2]) -> (%y) {
  weight %w: f32[] = 0.3
  weight %v: f32[2,2] = [0.7, 0.0, 0.0, 1.1]
  %a = Mul(%x, %w)
  %b = Relu(%a)
  %y = MatMul(%b, %v)
}"""
    x = X[:, :2].copy()
    model = model_of(text)
    before = print_model(model)
    placement, sources = trial(model, {"x": x})
    names = [source.op.name if isinstance(source, Node) else source.hint for source in sources]
    assert names == ["x", "Mul", "a", "MatMul", "y"]  # the Relu gives numbers that it reads
    w, v = np.float32(0.3), np.float32([0.7, 1.1])  # of a product with one number and a zero nothing is rounded

    def whole(x: Any = x, w: Any = w, v: Any = v, round: Any = lambda a: a) -> Any:
        return np.maximum(round(x * w), 0) * v

    expected = [whole(x=half(x)), whole(w=half(w)), whole(round=half), whole(v=half(v)), half(whole())]
    with Roundings(model, sources, placement, write) as roundings:
        assert np.array_equal(roundings.run({"x": x}, [])[0], whole())
        for source, each in zip(sources, expected):
            assert np.array_equal(roundings.run({"x": x}, [source])[0], each)
    assert print_model(model) == before


KEEP = np.ones((2, 1, 8), bool)
KEEP[0, 0, 5:] = False
CASES: dict[str, tuple[str, Feeds]] = {
    "plain": (TWO, {"x": X / 8}),
    "masked": (MASKED, {"x": X[:16].reshape(2, 8, 64) / 4, "keep": KEEP}),
    "branch": (IF, {"x0": X / 8, "flag": np.array(True)}),
    "loop": (LOOP, {"x0": X / 8, "n": np.array(4)}),
    "scan": (SCAN, {"x0": X / 8, "rows": X[:5]}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("to", ["fp16", "bf16"])
def test_all_of_them_are_the_model_in_half_precision(case: str, to: str) -> None:
    text, feeds = CASES[case]
    model = model_of(text)
    placement, sources = trial(model, feeds, to)
    with Roundings(model, sources, placement, write) as roundings:
        found = roundings.run(feeds, sources)
    for a, b in zip(run(autocast(model_of(text), feeds, to=to), feeds), found):
        assert np.array_equal(a, b)
