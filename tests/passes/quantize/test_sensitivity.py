"""Errors of groups of layers, against models in which those alone are quantized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoc.ir.clone import clone_model
from geoc.ir.errors import UsageError
from geoc.ir.text import print_model
from geoc.passes.quantize.difference import differences
from geoc.passes.quantize.quantize import Quantize
from geoc.passes.quantize.sensitivity import contiguous, sensitivities

from .running import CONVOLUTIONS, PRODUCTS, context, distance, feeds_of, model_of, outputs, run


@pytest.mark.parametrize("text", [CONVOLUTIONS, PRODUCTS])
@pytest.mark.parametrize("static", [True, False])
def test_errors_are_those_of_each_group_alone(tmp_path: Path, text: str, static: bool) -> None:
    if text is CONVOLUTIONS and not static:
        pytest.skip("convolutions have no scales at run time")
    model = model_of(text)
    before = print_model(model)
    feeds = feeds_of(model, 5)
    step = Quantize(static=static, method="minmax")
    found = sensitivities(model, step, context(feeds), groups=3, limit=4)
    assert print_model(model) == before
    assert len(found) == 3 + (text is PRODUCTS)
    assert [len(s.layers) for s in found][:3] in ([1, 1, 2], [1, 2, 2])
    expected, _ = outputs(model, tmp_path, feeds[:4], "ORT_DISABLE_ALL")
    for part in found:
        others = [name for other in found if other is not part for name in other.keep]
        trial = model_of(text)
        run(trial, f"quantize{{static={str(static).lower()},method=minmax,keep=[{','.join(map(str, others))}]}}", context(feeds))
        got, _ = outputs(trial, tmp_path, feeds[:4], "ORT_DISABLE_ALL")
        assert part.errors == pytest.approx([distance(got, expected)], rel=1e-3)
        assert 0 < part.errors[0] < 0.1 and part.weights >= 288


def test_each_layer_by_itself() -> None:
    found = sensitivities(model_of(PRODUCTS), Quantize(tables=False), context(feeds_of(model_of(PRODUCTS), 2)))
    assert [len(s.layers) for s in found] == [1] * 5


def test_differences(tmp_path: Path) -> None:
    model = model_of(PRODUCTS)
    feeds = feeds_of(model, 4)
    ctx = context(feeds)
    assert ctx.observe is not None
    same, _ = clone_model(model)
    assert differences(model, same, ctx.observe) == [0.0]
    changed = model_of(PRODUCTS, seed=7)
    ours, theirs = (outputs(m, tmp_path, feeds, "ORT_DISABLE_ALL")[0] for m in (changed, model))
    assert differences(model, changed, ctx.observe) == pytest.approx([distance(ours, theirs)], rel=1e-4)
    assert differences(model, changed, ctx.observe, 1) == pytest.approx([distance(ours[:1], theirs[:1])], rel=1e-4)


def test_outputs_of_zero() -> None:
    text = "graph @main(%x: f32[B,2]) -> (%y) {\n  weight %z: f32[] = 0.0\n  %y = Mul(%x, %z)\n}"
    zero, one = model_of(text), model_of(text.replace("0.0", "1.0"))
    ctx = context([{"x": np.ones((1, 2), np.float32)}])
    assert ctx.observe is not None
    assert differences(zero, zero, ctx.observe) == [0.0]
    assert differences(zero, one, ctx.observe) == [1.0]
    infinite = model_of(text.replace("0.0", "inf"))
    with pytest.raises(UsageError, match="NaN or infinity"):
        differences(zero, infinite, ctx.observe)


def test_contiguous() -> None:
    assert [list(part) for part in contiguous(list(range(5)), 2)] == [[0, 1], [2, 3, 4]]  # type: ignore[arg-type]
    assert len(contiguous(list(range(5)), None)) == len(contiguous(list(range(5)), 9)) == 5  # type: ignore[arg-type]
    assert contiguous([], 3) == []
