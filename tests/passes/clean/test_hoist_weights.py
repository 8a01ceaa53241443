"""Weights that branches and loops dequantize leave them, once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoc.ir.errors import UnsupportedModel
from geoc.lowering.backend import Order
from geoc.lowering.targets import get_target
from geoc.passes.base import Context
from geoc.passes.clean.hoist_weights import HoistWeights
from geoc.passes.manager import run_pipeline

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
BRANCHES = """graph @main(%x: f32[2,3], %c: bool[]) -> (%y: f32[2,3]) {
      weight %w: i8[3,3] = [1, -2, 3, 4, 5, -6, 7, 8, 9]
      weight %s: f32[] = 0.25
      weight %t: f32[] = 0.5
      %y: f32[2,3] = If(%c)
        with then_branch = () -> (%a) {
          %d: f32[3,3] = DequantizeLinear(%w, %s)
          %a: f32[2,3] = MatMul(%x, %d)
        }
        with else_branch = () -> (%b) {
          %e: f32[3,3] = DequantizeLinear(%w, OTHER)
          %m: f32[2,3] = MatMul(%x, %e)
          %b: f32[2,3] = Relu(%m)
        }
    }"""
LOOP = """graph @main(%x: f32[2,3], %n: i64[], %q: i8[3,3]) -> (%y: f32[2,3]) {
      weight %true: bool[] = true
      weight %w: i8[3,3] = [1, -2, 3, 4, 5, -6, 7, 8, 9]
      weight %s: f32[] = 0.25
      %y: f32[2,3] = Loop(%n, %true, %x)
        with body = (%k: i64[], %go: bool[], %v: f32[2,3]) -> (%go, %b) {
          %d: f32[3,3] = DequantizeLinear(%w, %s)
          %e: f32[3,3] = DequantizeLinear(%q, %s)
          %a: f32[2,3] = MatMul(%v, %d)
          %b: f32[2,3] = MatMul(%a, %e)
        }
    }"""


def where(model: Any) -> Counter[tuple[bool, str]]:
    """(in a region, operator) of all DequantizeLinear."""
    return Counter((n.graph.parent is not None, n.op.key) for n in model.walk() if n.op.key == "DequantizeLinear")


@pytest.mark.parametrize(("other", "left"), [("%s", 1), ("%t", 2)])
def test_branches(other: str, left: int, gir: Any, apply: Any) -> None:
    """Equal ones become one, others stay apart."""
    model = gir(BRANCHES.replace("OTHER", other))
    assert apply(HoistWeights(), model, *({"x": X, "c": np.array(c)} for c in (True, False)))
    assert where(model) == {(False, "DequantizeLinear"): left}


def test_a_loop_keeps_what_is_computed(gir: Any, apply: Any) -> None:
    model = gir(LOOP)
    q = np.arange(9, dtype=np.int8).reshape(3, 3)
    assert apply(HoistWeights(), model, *({"x": X, "n": np.array(n), "q": q} for n in (0, 2)))
    assert where(model) == {(False, "DequantizeLinear"): 1, (True, "DequantizeLinear"): 1}


def test_the_main_graph_is_left_alone(gir: Any, apply: Any) -> None:
    text = """graph @main(%x: f32[2,3]) -> (%y: f32[2,3]) {
      weight %w: i8[3,3] = [1, -2, 3, 4, 5, -6, 7, 8, 9]
      weight %s: f32[] = 0.25
      %d: f32[3,3] = DequantizeLinear(%w, %s)
      %y: f32[2,3] = MatMul(%x, %d)
    }"""
    assert not apply(HoistWeights(), gir(text), {"x": X})


def test_tensorrt_takes_it_then(gir: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    target = get_target("a100")
    model = gir(BRANCHES.replace("OTHER", "%s"))
    write = target.backend.emitters()["rtx-engine"].write
    with pytest.raises(UnsupportedModel, match="only allowed before DQ"):
        write(model, str(tmp_path / "before.rtx.engine"), Order(target))
    assert target.backend.unsupported(model, target)
    run_pipeline(model, [HoistWeights()], Context())
    assert not target.backend.unsupported(model, target)
    assert write(model, str(tmp_path / "after.rtx.engine"), Order(target)).files
