"""Half precision in part: the nodes to blame are found, and nothing else stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.passes.base import Context
from geoc.passes.precision.autocast import Autocast
from geoc.passes.precision.placement import Harm
from geoc.tools import compiler
from geoc.tools.cli import main
from geoc.tools.search import mixed
from geoc.tools.search.mixed import Mixed

from ...passes.precision.conftest import FAST, model_of
from ..toys import finish

RNG = np.random.default_rng(0)
WIDTH, LAYERS, CULPRIT = 256, 6, 3


@pytest.fixture
def shifted(tmp_path: Path) -> Path:
    """Six products with a Relu each; behind one of them 300 comes to its numbers and goes again, which fp16 rounds to 0.25."""
    weights = [(RNG.standard_normal((WIDTH, WIDTH)) / 16).astype(np.float32) for _ in range(LAYERS)]
    nodes, last = [], "x"
    for i in range(LAYERS):
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [f"m{i}"], name=f"/product{i}"))
        last = f"m{i}"
        if i == CULPRIT:
            nodes += [
                helper.make_node("ReduceMax", [last], ["top"], keepdims=0, name="/top"),
                helper.make_node("Sigmoid", ["top"], ["near_one"], name="/near_one"),
                helper.make_node("Mul", ["near_one", "large"], ["shift"], name="/shift"),
                helper.make_node("Add", [last, "shift"], ["up"], name="/up"),
                helper.make_node("Sub", ["up", "shift"], ["down"], name="/down"),
            ]
            last = "down"
        nodes.append(helper.make_node("Relu", [last], [f"r{i}"], name=f"/relu{i}"))
        last = f"r{i}"
    nodes.append(helper.make_node("MatMul", [last, "w0"], ["y"], name="/last"))
    constants = [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    constants.append(numpy_helper.from_array(np.float32(300.0), "large"))
    ends = [[(name, TensorProto.FLOAT, ["N", WIDTH])] for name in "xy"]
    onnx.save(finish(nodes, *ends, constants), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def half_nodes(path: Path) -> dict[str, bool]:
    """By the name of each node but Casts: whether its result is in half precision."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    return {n.name: types[n.output[0]] == TensorProto.FLOAT16 for n in graph.node if n.op_type != "Cast"}


def test_the_culprit_is_found_and_stays(shifted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    remarks = tmp_path / "remarks.jsonl"
    report = geoc.compile(shifted, out, target="a100", level=3, remarks=str(remarks))
    assert report.ok and report.precision == "fp16" and report.accuracy.error < 0.01
    assert (report.after.low, report.after.products) == (7, 7)
    single = {name for name, is_half in half_nodes(out).items() if not is_half}
    assert {"/up", "/down"} <= single <= {"/top", "/near_one", "/shift", "/up", "/down", f"/relu{CULPRIT}"}
    first, second = report.refused[:2]
    assert first.what.startswith("fp16 in ") and "over the limit 1.00% with it everywhere; these stay: Add at /up" in first.why
    assert first.unlock.startswith("--max-error ") and second.what == "bf16"
    said = [json.loads(line) for line in remarks.read_text().splitlines()]
    assert any("Add stays in single precision: error budget" in r["message"] and r["loc"] == ["/up"] for r in said)
    x = RNG.standard_normal((5, WIDTH)).astype(np.float32)
    expected, found = (onnxruntime.InferenceSession(str(p)).run(None, {"x": x})[0] for p in (shifted, out))
    assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)


def test_a_budget_limits_an_order_in_part_as_well(shifted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    words = [str(shifted), "--target", "a100", "--precision", "fp16", "-o", str(out)]
    assert main([*words, "--max-error", "1%"]) == 0
    assert not half_nodes(out)["/up"] and half_nodes(out)["/last"]
    out.unlink()
    assert main([*words, "--max-error", "0.0001%"]) == 0 and not any(half_nodes(out).values())
    assert main(words) == 0 and half_nodes(out)["/up"]  # an order without a budget


def test_what_cannot_be_helped_ends_in_single_precision(shifted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    report = geoc.compile(shifted, out, target="a100", level=3, max_error=1e-6)
    assert report.ok and report.precision == "" and not any(half_nodes(out).values())
    assert [r.what for r in report.refused] == ["fp16", "bf16"]
    assert report.refused[0].why.endswith("; no part that fits saves time")


def test_a_large_model_that_is_compared_is_measured(shifted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "LOSSY_CHECK_MAX", 0)
    report = geoc.compile(shifted, None, target="a100", level=3)
    assert report.accuracy.status == "NOT CHECKED" and report.precision == "fp16" and not report.refused
    report = geoc.compile(shifted, None, target="a100", level=3, check="end")
    assert report.ok and report.precision == "fp16" and "these stay: Add at /up" in report.refused[0].why


def test_few_runs_find_less_and_still_fit(shifted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed, "MAX_RUNS", 12)
    monkeypatch.setattr(mixed, "GROUPS", 4)
    report = geoc.compile(shifted, None, target="a100", level=3)
    assert report.ok and report.accuracy.error < 0.01 and report.precision in ("fp16", "")


def test_runs_are_bounded_and_the_effort_too(shifted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[mixed._Search] = []
    begin = mixed._Search.__init__
    monkeypatch.setattr(mixed._Search, "__init__", lambda self, *a: (searches.append(self), begin(self, *a))[1])
    monkeypatch.setattr(mixed, "EFFORT", 0.0)
    geoc.compile(shifted, None, target="a100", level=3)
    assert len(searches) == 1 and searches[0].runs <= mixed.GROUPS + 1  # and all together


def test_where_it_saves_no_time_nothing_is_claimed(tmp_path: Path) -> None:
    model = finish([helper.make_node("Relu", ["x"], ["y"])], [("x", TensorProto.FLOAT, [64, 64])],
                   [("y", TensorProto.FLOAT, [64, 64])])  # fmt: skip
    onnx.save(model, tmp_path / "m.onnx")
    report = geoc.compile(tmp_path / "m.onnx", None, target="a100", level=3)
    assert report.ok and report.precision == "" and report.accuracy.norm == "largest"
    assert [(r.what, r.why) for r in report.refused] == [(p, "it saves no time anywhere") for p in ("fp16", "bf16")]


@pytest.mark.parametrize("seed", range(20))
def test_a_smaller_error_keeps_no_fewer_nodes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lines = "\n".join(f"  %v{i + 1} = MatMul(%v{i}, %w)" for i in range(8))
    model = model_of(f"graph @main(%v0: f32[64,64]) -> (%v8) {{\n  weight %w: f32[64,64] = splat(0.015)\n{lines}\n}}")
    placement = Autocast().placement(model, Context(capabilities=FAST))
    assert placement is not None
    network, places = placement.network, placement.halved()
    harm = Harm(
        {flow.value: float(rng.exponential()) * 1e-6 for flow in network.flows},
        {node: float(rng.exponential()) * 1e-6 for node in network.nodes},
    )
    found = Mixed(placement, harm, places)
    counts = []
    for share in (1.1, 0.9, 0.7, 0.5, 0.3):
        kept = found.kept(share * found.error, "autocast")
        counts.append(len(network.nodes) if kept is None else len(kept.reasons))
        if kept is not None:
            stays = {node for node in network.nodes if ("autocast", "", node.loc, node.output.hint) in kept.reasons}
            assert harm.of(network, places - stays) <= (share * found.error) ** 2
    assert counts[0] == 0 and counts == sorted(counts)
