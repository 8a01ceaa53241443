"""Integers within a budget: what stays in floats, that results never pass the budget, and that integers pay."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.ir.core import Model, Node
from geoc.ir.types import U8
from geoc.tools.cli import main
from geoc.tools.running import timing
from geoc.tools.search import layer_times, profit
from geoc.tools.search.mixed_integers import MixedIntegers, Stretch

from ...passes.quantize.running import PRODUCTS, model_of
from ..toys import finish

WIDTH = 64


def network(path: Path, seed: int, layers: int = 6, wild: int | None = None) -> Path:
    """Products of random kinds with a Relu or a skip; the input of layer `wild` has a few channels that are huge."""
    rng = np.random.default_rng(seed)
    nodes, constants, last = [], [], "x"
    for i in range(layers):
        scale = np.ones(WIDTH, np.float32)
        if i == wild:
            scale[rng.integers(0, WIDTH, 2)] = 300.0
        w = (rng.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH)).astype(np.float32)
        constants += [numpy_helper.from_array(scale, f"s{i}"), numpy_helper.from_array(w, f"w{i}")]
        nodes.append(helper.make_node("Mul", [last, f"s{i}"], [f"t{i}"], name=f"/scale{i}"))
        nodes.append(helper.make_node("MatMul", [f"t{i}", f"w{i}"], [f"m{i}"], name=f"/product{i}"))
        other = ["Relu", "Tanh", "Add"][rng.integers(0, 3)]
        inputs = [f"m{i}", last] if other == "Add" else [f"m{i}"]
        nodes.append(helper.make_node(other, inputs, [f"r{i}"], name=f"/behind{i}"))
        last = f"r{i}"
    nodes[-1].output[0] = "y"
    ends = [[(name, TensorProto.FLOAT, ["N", WIDTH])] for name in "xy"]
    onnx.save(finish(nodes, *ends, constants), path)
    return path


def samples(path: Path, seed: int = 1, count: int = 20) -> str:
    rng = np.random.default_rng(seed)
    np.savez(path, **{f"x/{i}": rng.standard_normal((8, WIDTH)).astype(np.float32) for i in range(count)})
    return str(path)


def held_back_error(source: Path, made: Path, data: str, level: str) -> float:
    """The mean relative L2 error on every fifth sample, by onnxruntime alone."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    a, b = (onnxruntime.InferenceSession(str(p), options, ["CPUExecutionProvider"]) for p in (source, made))
    errors = []
    with np.load(data) as arrays:
        for i in range(4, len(arrays.files), 5):
            x = {"x": arrays[f"x/{i}"]}
            expected, found = a.run(None, x)[0], b.run(None, x)[0]
            errors.append(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    return float(np.mean(errors))


def products(path: Path) -> dict[str, int]:
    graph = onnx.load(path).graph
    return {op: sum(node.op_type == op for node in graph.node) for op in ("MatMul", "Gemm", "MatMulIntegerToFloat", "MatMulNBits")}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_never_over_the_budget_on_held_back_samples(seed: int, precision: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    source = network(tmp_path / "m.onnx", seed, wild=int(rng.integers(0, 6)) if seed % 2 else None)
    data, made = samples(tmp_path / "s.npz", seed), tmp_path / "o.onnx"
    budget = float(rng.uniform(0.003, 0.02 if precision == "int8" else 0.1))
    report = geoc.compile(source, made, precision=precision, calib=data, max_error=budget)
    assert report.ok and report.accuracy.error is not None and report.accuracy.held_back
    # Products with weights in blocks need their scales folded (`check._folds`).
    assert held_back_error(source, made, data, "ORT_DISABLE_ALL" if precision == "int8" else "ORT_ENABLE_BASIC") <= budget
    assert held_back_error(source, made, data, "ORT_ENABLE_ALL") <= budget * 1.05
    if report.precision:
        assert report.accuracy.limit == budget and report.after.low > 0
        assert report.after.low + len(report.stays.reasons if report.stays else ()) == report.after.products
        assert not any("stays as it is" in refusal.why for refusal in report.refused)  # the line of the precision says it
    else:
        assert any("nothing of --precision" in note for note in report.notes)


def test_what_harms_stays_and_the_report_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = network(tmp_path / "m.onnx", 3, wild=4)
    data, made, said = samples(tmp_path / "s.npz"), tmp_path / "o.onnx", tmp_path / "r.json"
    words = [str(source), "--precision=int8", "--calib", data, "--skip", "smooth", "-o", str(made)]
    assert main([*words, "--report", str(said)]) == 0
    whole = json.loads(said.read_text())
    assert whole["accuracy"]["error"] > 0.03 and whole["stays"] is None
    remarks = tmp_path / "remarks.jsonl"
    assert main([*words, "--report", str(said), "--max-error=2%", "--remarks", str(remarks)]) == 0
    found = json.loads(said.read_text())
    assert found["accuracy"]["error"] <= 0.02 and found["accuracy"]["samples"] == 4
    stays = list(found["stays"]["reasons"])
    assert "/product4" in stays and 0 < len(stays) < 6 and found["after"]["low"] == 6 - len(stays)
    assert "error budget: in integers it makes" in found["stays"]["reasons"]["/product4"]
    assert found["stays"]["unlock"].startswith("--max-error ")
    numbers = ",".join(name[-1] for name in stays)
    assert f"keep=[{numbers}]" in found["pipeline"]  # which does the same without a search
    out = capsys.readouterr().out
    line = f"precision w8a8 in {6 - len(stays)} of 6 products, 0 casts; {len(stays)} kept higher (MatMul at /product4: "
    assert line in out
    lines = [json.loads(line) for line in remarks.read_text().splitlines()]
    assert any(r["loc"] == ["/product4"] and "error budget" in r["message"] for r in lines)
    again = tmp_path / "again.onnx"
    geoc.compile(source, again, passes=found["pipeline"], calib=data, skip="smooth")
    assert products(again) == products(made)
    assert held_back_error(made, again, data, "ORT_DISABLE_ALL") == 0


def test_auto_takes_a_part_within_one_percent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profit, "can_time", lambda run: False)
    source, data, made = network(tmp_path / "m.onnx", 3), samples(tmp_path / "s.npz"), tmp_path / "o.onnx"
    report = geoc.compile(source, made, level=3, calib=data)
    assert report.ok and report.precision == "w8a8" and report.accuracy.limit == 0.01
    assert 0 < report.after.low < 6 and held_back_error(source, made, data, "ORT_DISABLE_ALL") <= 0.01


def test_a_target_with_half_precision_around_its_integers(tmp_path: Path) -> None:
    source, data, made = network(tmp_path / "m.onnx", 3, wild=4), samples(tmp_path / "s.npz"), tmp_path / "o.onnx"
    report = geoc.compile(source, made, target="a100", precision="int8", calib=data, max_error=0.03, skip="smooth")
    assert report.ok and report.precision == "w8a8" and report.accuracy.error <= 0.03
    assert report.stays is not None and "/product4" in report.stays.reasons
    products_in_integers = 6 - len(report.stays.reasons)
    assert 0 < products_in_integers < report.after.low  # others are in half precision
    codes = [node for node in onnx.load(made).graph.node if node.op_type == "QuantizeLinear"]
    assert len(codes) >= products_in_integers


def test_a_pipeline_of_the_users_has_no_other_form(tmp_path: Path) -> None:
    source, data, made = network(tmp_path / "m.onnx", 0), samples(tmp_path / "s.npz"), tmp_path / "o.onnx"
    passes = "@O2,quantize,ort-quantized,fold,cse,dce"
    assert main([str(source), "--passes", passes, "--calib", data, "--max-error", "0.1%", "-o", str(made)]) == 1
    assert not made.exists()
    assert main([str(source), "--passes", passes, "--calib", data, "--max-error", "10%", "-o", str(made)]) == 0


def test_a_budget_of_nothing_leaves_floats(tmp_path: Path) -> None:
    source, data, made = network(tmp_path / "m.onnx", 0), samples(tmp_path / "s.npz"), tmp_path / "o.onnx"
    report = geoc.compile(source, made, precision="int8", calib=data, max_error=1e-6)
    assert report.ok and report.precision == "" and products(made)["MatMulIntegerToFloat"] == 0
    assert report.accuracy.norm == "largest" and report.stays is None
    assert report.refused[0].what == "w8a8" and "no part that fits" in report.refused[0].why


def parts(errors: Sequence[float]) -> Any:
    """Nodes whose squared errors add up."""
    nodes = list(model_of(PRODUCTS).graph)[: len(errors)]

    class Known:
        def __init__(self) -> None:
            self.nodes = nodes

        def keep(self, wanted: Sequence[Node]) -> tuple[int, ...]:
            return tuple(nodes.index(node) for node in wanted)

    return Known(), dict(zip(nodes, errors))


@pytest.mark.parametrize("seed", range(10))
def test_a_choice_fits_as_a_whole_or_there_is_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 8
    known, errors = parts(rng.exponential(0.01, count).tolist())
    together = float(rng.uniform(0.5, 2.0))  # how errors add up, which the search does not know

    def joint(nodes: Sequence[Node]) -> float:
        return sum(errors[node] ** 2 for node in nodes) * (together if len(nodes) > 1 else 1.0)

    stretches = [Stretch([node], float(rng.uniform(0.1, 1)), errors[node] ** 2) for node in known.nodes]
    found = MixedIntegers(known, stretches, [0.1] * count, joint)
    assert found.error == pytest.approx(joint(known.nodes) ** 0.5)
    sizes = []
    for share in (1.1, 0.8, 0.5, 0.3):
        kept = found.kept(share * found.error, "quantize")
        if kept is None:
            sizes.append(count)
            continue
        taken = [node for number, node in enumerate(known.nodes) if number not in kept.keep]
        assert len(taken) + len(kept.reasons) == count
        assert joint(taken) <= (share * found.error) ** 2
        sizes.append(len(kept.reasons))
    assert sizes[0] == 0 and sizes[-1] > 0


def slowed(monkeypatch: pytest.MonkeyPatch, ops: set[str]) -> None:
    """onnxruntime takes 2 ms more for a model with one of these operators."""
    real = timing.RUNNERS["onnxruntime"]

    def slow(path: str, threads: int, model: Any = None) -> Any:
        call = real(path, threads, model)
        is_slow = model is not None and any(node.op.name in ops for node in model.graph)
        return (lambda feeds: (time.sleep(0.002), call(feeds))[1]) if is_slow else call

    monkeypatch.setitem(timing.RUNNERS, "onnxruntime", slow)


def test_integers_that_do_not_pay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Auto takes floats instead; an order is kept, with a note."""
    slowed(monkeypatch, {"MatMulIntegerToFloat"})
    source, data, made = network(tmp_path / "m.onnx", 0), samples(tmp_path / "s.npz"), tmp_path / "o.onnx"
    report = geoc.compile(source, made, level=3, calib=data, max_error=0.1)
    assert report.ok and report.precision == "" and products(made)["MatMulIntegerToFloat"] == 0
    (refusal,) = [r for r in report.refused if r.what == "w8a8"]
    assert refusal.why.startswith("MEASURED ") and "ms in floats" in refusal.why and refusal.unlock == "--precision w8a8"
    ordered = geoc.compile(source, made, precision="int8", calib=data)
    assert ordered.precision == "w8a8" and products(made)["MatMulIntegerToFloat"] == 6
    assert any("w8a8 was ordered and is slower here than floats: MEASURED" in note for note in ordered.notes)


def test_integers_that_pay_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(monkeypatch, {"MatMul", "Gemm"})
    source, data = network(tmp_path / "m.onnx", 0), samples(tmp_path / "s.npz")
    report = geoc.compile(source, None, level=3, calib=data, max_error=0.1, measure=True)
    assert report.precision == "w8a8" and not report.refused
    assert report.speed is not None and report.speed.taken == "w8a8"
    assert "MEASURED  " in report.summary() and " ms, x" in report.summary() and "against the source" in report.summary()


def test_layers_that_do_not_pay_stay_by_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(monkeypatch, {"MatMulIntegerToFloat"})
    source, data, made = network(tmp_path / "m.onnx", 0), samples(tmp_path / "s.npz"), tmp_path / "o.onnx"
    report = geoc.compile(source, made, precision="int8", calib=data, measure=True)
    assert products(made)["MatMulIntegerToFloat"] == 0 and report.ok
    assert report.refused[0].what == "w8a8 in 6 layers" and "MEASURED" in report.refused[0].why


def test_each_shape_is_timed_once_between_integers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions read codes and give codes where they are timed; what the whole model does is another question."""
    timed: list[list[str]] = []
    real = layer_times.LayerTimes._measured

    def measured(self: Any, floats: Model, integers: Model) -> Any:
        assert [v.dtype for v in (*integers.graph.inputs, *integers.graph.outputs)] == [U8, U8]
        timed.append([node.op.name for node in floats.graph])
        return real(self, floats, integers)

    monkeypatch.setattr(layer_times.LayerTimes, "_measured", measured)
    text = """graph @main(%x: f32[1,64,10,10]) -> (%y) {
  weight %a: f32[64,64,1,1] = random
  weight %b: f32[64,64,1,1] = random
  weight %d: f32[64,1,3,3] = random
  %p = Conv(%x, %a)
  %q = Relu(%p)
  %r = Conv(%q, %b)
  %s = Relu(%r)
  %t = Conv(%s, %d) {pads=[1, 1, 1, 1], group=64}
  %y = Conv(%t, %a)
}"""
    path, data = tmp_path / "m.onnx", tmp_path / "s.npz"
    geoc.save(model_of(text), path)
    rng = np.random.default_rng(0)
    np.savez(data, **{f"x/{i}": rng.standard_normal((1, 64, 10, 10)).astype(np.float32) for i in range(10)})
    slowed(monkeypatch, {"DequantizeLinear"})
    report = geoc.compile(path, None, precision="int8", calib=data, measure=True)
    assert timed == [["Conv", "Relu"], ["Conv"], ["Conv"]]
    assert report.after.low == 0 and report.refused[0].what == "w8a8 in 4 layers"


def test_what_is_timed_elsewhere_says_nothing(tmp_path: Path) -> None:
    source, data = network(tmp_path / "m.onnx", 0), samples(tmp_path / "s.npz")
    report = geoc.compile(source, None, target="cpu-avx2", precision="int8", calib=data, measure=True)
    assert report.speed is None and any("this machine is not cpu-avx2" in note for note in report.notes)
