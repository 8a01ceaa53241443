"""Layers timed on this machine: what is timed and what is not, sizes between those that are, and who asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.ir.core import Model
from geoc.ir.ops.cost import CostModel
from geoc.tools.search.measured_cost import MeasuredCost, alone

from ...passes.quantize.running import context, model_of, run

TWO = """
graph @main(%x: f32[4,8]) -> (%y) {
  weight %w: f32[8,16] = random
  weight %b: f32[16] = random
  %m = MatMul(%x, %w)
  %a = Add(%m, %b)
  %t = Transpose(%a) {perm=[1, 0]}
  %y = MatMul(%a, %t)
}"""


class Clock:
    """Counts what is timed; a product takes as long as its matrix has elements."""

    def __init__(self) -> None:
        self.timed: list[tuple[int, ...]] = []

    def __call__(self, model: Model) -> float:
        (node,) = model.graph
        weight = node.inputs[1]
        assert weight is not None and weight.const is not None
        self.timed.append(weight.const.shape)
        return float(np.prod(weight.const.shape))


def test_products_with_weights_are_timed_once_and_nothing_else() -> None:
    model, clock = model_of(TWO), Clock()
    cost = MeasuredCost(CostModel(), clock)
    first, *others = model.graph
    assert cost.seconds(first) == cost.seconds(first) == 8 * 16
    plain = CostModel()
    assert [cost.seconds(node) for node in others] == [plain.seconds(node) for node in others]
    assert clock.timed == [(8, 16)]


def test_sizes_between_those_that_are_timed_lie_on_a_line() -> None:
    clock = Clock()
    cost = MeasuredCost(CostModel(), clock)
    found = {rank: cost.product_seconds(128, 768, rank) for rank in range(1, 400)}
    for rank, seconds in found.items():  # linear in the rank, as the clock is
        assert seconds == pytest.approx(768 * rank)
    assert len(clock.timed) < 20
    assert cost.product_seconds(128, 40, 3072) == pytest.approx(40 * 3072)


def test_a_layer_alone_is_the_same_operator() -> None:
    model = alone("Conv", {"group": 2, "pads": (1, 1, 1, 1)}, ((1, 4, 5, 5), (6, 2, 3, 3), (6,)))
    (node,) = model.graph
    assert node.output.shape == (1, 6, 5, 5) and node.attr("group") == 2


@pytest.mark.parametrize("slow", [False, True])
def test_low_rank_asks_the_clock(slow: bool) -> None:
    """By the estimate rank 16 of a [256, 256] matrix is faster; where the clock says otherwise it stays whole."""
    text = "graph @main(%x: f32[64,256]) -> (%y) {\n  weight %w: f32[256,256] = random\n  %y = MatMul(%x, %w)\n}"

    class Times(CostModel):
        source = "MEASURED"

        def product_seconds(self, rows: int, inner: int, columns: int) -> float:
            return 1.0 if inner == columns else 0.6 if slow else 0.2

    model = model_of(text)
    run(model, "low-rank{rank=16,method=plain}", context(None, times=Times()))
    assert sum(node.op.key == "MatMul" for node in model.graph) == (1 if slow else 2)


def test_measure_reaches_the_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((512, 512)).astype(np.float32), "w")]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [64, 512]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), tmp_path / "m.onnx")
    asked: list[tuple[int, int, int]] = []

    def timed(self: MeasuredCost, rows: int, inner: int, columns: int) -> float:
        asked.append((rows, inner, columns))
        return 1.0

    monkeypatch.setattr(MeasuredCost, "product_seconds", timed)
    passes = "@O1,low-rank{rank=128,method=plain},@O2"
    report = geoc.compile(tmp_path / "m.onnx", passes=passes, measure=True, check="off")
    assert {(64, 512, 512), (64, 512, 128), (64, 128, 512)} <= set(asked)
    (refusal,) = (r for r in report.refused if "of its time" in r.why)
    assert refusal.why == "rank 128 takes 2.00 of its time MEASURED" and report.speed is not None
    asked.clear()
    geoc.compile(tmp_path / "m.onnx", passes=passes, check="off")
    assert not asked
