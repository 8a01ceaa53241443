"""Models in parts: run one after another they give what the whole gives."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import geoc
from geoc.ir.clone import clone_model
from geoc.ir.core import Model
from geoc.ir.errors import UnsupportedModel
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.ir.verify import verify
from geoc.lowering.backend import all_rule_sets
from geoc.lowering.onnx import model_bytes
from geoc.lowering.partition import Part, partition
from geoc.lowering.targets import get_target
from geoc.passes.base import Context
from geoc.passes.clean.dce import Dce
from geoc.passes.manager import run_pipeline
from geoc.passes.registry import Registry

IF = """
  %f = Greater(%b0, %a0)
  %one = ReduceMax(%x) {keepdims=0}
  weight %zero: f32[] = 0.0
  %c = Greater(%one, %zero)
  %i: f32[4,4] = If(%c)
    with then_branch = () -> (%t) {
      %t = Add(%a0, %b0)
    }
    with else_branch = () -> (%e) {
      %e = Sub(%b0, %x)
    }
"""


def random_model(rng: random.Random) -> Model:
    """Nodes of one or two operands with a branch that reads values from around it."""
    lines = ["  %a0 = Relu(%x)", "  %b0 = Neg(%x)", IF]
    names = ["x", "a0", "b0", "i"]
    for index in range(rng.randint(3, 14)):
        operands = rng.sample(names, rng.choice((1, 2)))
        op = rng.choice(("Tanh", "Neg", "Relu")) if len(operands) == 1 else rng.choice(("Add", "Mul", "MatMul", "Max"))
        lines.append(f"  %v{index} = {op}({', '.join('%' + name for name in operands)})")
        names.append(f"v{index}")
    results = rng.sample(names[1:], rng.randint(1, 4))
    head = f"graph @main(%x: f32[4,4]) -> ({', '.join('%' + r for r in results)}) {{"
    model = parse_model('geoc 1\nopset "" 21\n\n' + "\n".join([head, *lines, "}"]) + "\n")
    infer_graph(model.graph)
    run_pipeline(model, [Dce()], Context())
    return model


def run(model: Model, feeds: dict[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(model_bytes(model, max_opset=21, max_ir=10))
    return list(session.run(model.graph.output_names, feeds))


def run_parts(parts: list[Part], feeds: dict[str, Any]) -> dict[str, Any]:
    """Every part gets nothing but what came before it."""
    known = dict(feeds)
    for part in parts:
        graph = part.model.graph
        known.update(zip(graph.output_names, run(part.model, {name: known[name] for name in graph.input_names})))
    return known


@pytest.mark.parametrize("seed", range(60))
def test_parts_give_what_the_whole_gives(seed: int) -> None:
    rng = random.Random(seed)
    model = random_model(rng)
    feeds = {"x": np.random.default_rng(seed).standard_normal((4, 4)).astype(np.float32)}
    expected, names = run(model, feeds), list(model.graph.output_names)
    count = model.graph.size
    refused = {node for node in model.graph if rng.random() < 0.25}
    whole, of = clone_model(model)
    twins = {of[node.outputs[0]].producer for node in refused}
    parts = partition(whole, twins)
    for part in parts:
        verify(part.model)
    assert sum(part.nodes for part in parts) == count
    assert sum(part.nodes for part in parts if not part.on_target) == len(refused)
    known = run_parts(parts, feeds)
    assert all(np.array_equal(a, known[name], equal_nan=True) for a, name in zip(expected, names))


def test_a_diamond_is_cut_into_three() -> None:
    """What is refused lies between what is not: the rest cannot be one part."""
    text = """geoc 1
opset "" 21

graph @main(%x: f32[4]) -> (%y) {
  %a = Relu(%x)
  %b = Erf(%a)
  %c = Neg(%a)
  %y = Add(%b, %c)
}
"""
    model = parse_model(text)
    infer_graph(model.graph)
    parts = partition(model, {node for node in model.graph if node.op.key == "Erf"})
    assert [(p.on_target, [n.op.key for n in p.model.graph]) for p in parts] == [
        (True, ["Relu", "Neg"]), (False, ["Erf"]), (True, ["Add"]),
    ]  # fmt: skip


def test_nothing_refused_is_one_part() -> None:
    model = random_model(random.Random(0))
    assert len(partition(model, set())) == 1


@pytest.fixture
def with_det(tmp_path: Path) -> Path:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="/relu"),
        helper.make_node("Det", ["a"], ["d"], name="/head/Det"),
        helper.make_node("Mul", ["a", "d"], ["m"], name="/mul"),
    ]
    value = helper.make_tensor_value_info
    outputs = [value("m", TensorProto.FLOAT, [3, 3]), value("d", TensorProto.FLOAT, [])]
    graph = helper.make_graph(nodes, "main", [value("x", TensorProto.FLOAT, [3, 3])], outputs)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_what_a_target_cannot_run_goes_to_the_fallback_and_is_said(with_det: Path, tmp_path: Path) -> None:
    report = geoc.compile(with_det, tmp_path / "o.onnx", target="a100")
    folder = tmp_path / "o.parts"
    plan = json.loads((folder / "plan.json").read_text())
    assert [part["runtime"] for part in plan["parts"]] == ["tensorrt", "onnxruntime", "tensorrt"]
    assert not (tmp_path / "o.onnx").exists()
    assert any("Det at /head/Det: it has no layer for it (limits.rules: no_layer)" in note and "1 Det on onnxruntime" in note for note in report.notes)
    x = np.random.default_rng(0).standard_normal((3, 3)).astype(np.float32)
    known = {"x": x}
    for part in plan["parts"]:
        session = onnxruntime.InferenceSession(str(folder / part["file"]))
        known.update(zip(part["outputs"], session.run(part["outputs"], {name: known[name] for name in part["inputs"]})))
    whole = onnxruntime.InferenceSession(str(with_det)).run(plan["outputs"], {"x": x})
    assert all(np.allclose(a, known[name], atol=1e-6) for a, name in zip(whole, plan["outputs"]))


def test_several_forms_are_split_alike(with_det: Path, tmp_path: Path) -> None:
    geoc.compile(with_det, tmp_path / "made", target="a100", emit=("gir", "onnx"))
    plan = json.loads((tmp_path / "made" / "m.parts" / "plan.json").read_text())
    assert [part["runtime"] for part in plan["parts"]] == ["tensorrt", "onnxruntime", "tensorrt"]


def test_without_a_fallback_the_nodes_are_named(with_det: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="a100 cannot run 1 nodes: Det at /head/Det: it has no layer for it .limits.rules: no_layer.; --fallback=cpu"):
        geoc.compile(with_det, tmp_path / "o.onnx", target="a100", fallback="none")
    assert list(tmp_path.iterdir()) == [with_det]


def test_rows_of_the_user_s_own_count_as_well(with_det: Path, tmp_path: Path) -> None:
    rows = tmp_path / "mine.rules"
    rows.write_text('rule relu {\n"""It is wrong on our cards."""\nmatch %y = Relu(%x) refuse "wrong on our cards"\n}\n')
    report = geoc.compile(with_det, tmp_path / "o.onnx", target="a100", rules=[str(rows)])
    assert any("Relu at /relu: wrong on our cards (mine.rules: relu)" in note for note in report.notes)
    plan = json.loads((tmp_path / "o.parts" / "plan.json").read_text())
    assert [part["runtime"] for part in plan["parts"]] == ["onnxruntime", "tensorrt"]
    report = geoc.compile(with_det, tmp_path / "p.onnx", target="a100", rules=[str(rows)], skip=["relu"])
    assert not any("wrong on our cards" in note for note in report.notes)


def test_what_no_runtime_has_a_kernel_for_is_said(tmp_path: Path) -> None:
    """GroupNormalization of f64: a function, but its kernels are not there for f64; there is nowhere else to go."""
    node = helper.make_node("BitShift", ["x", "x"], ["y"], direction="LEFT", name="/shift")
    value = helper.make_tensor_value_info
    graph = helper.make_graph([node], "main", [value("x", TensorProto.UINT16, [3])], [value("y", TensorProto.UINT16, [3])])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    report = geoc.compile(path, tmp_path / "o.onnx")
    assert any("onnxruntime cannot run 1 nodes: BitShift at /shift" in note for note in report.notes)
    with pytest.raises(UnsupportedModel, match="cpu cannot run 1 nodes"):
        geoc.compile(path, tmp_path / "p.onnx", fallback="none")


def test_operators_of_other_domains_are_refused_whatever_they_are() -> None:
    text = """geoc 1
opset "" 21
opset "com.microsoft" 1

graph @main(%x: f32[2,4], %c: bool[]) -> (%y) {
  %a = com.microsoft::Gelu(%x)
  %b = my.own::Thing(%a)
  %y: f32[2,4] = If(%c)
    with then_branch = () -> (%t) {
      %t = com.microsoft::Gelu(%b)
    }
    with else_branch = () -> (%e) {
      %e = Neg(%a)
    }
}
"""
    model = parse_model(text)
    infer_graph(model.graph)
    target = get_target("a100")
    found = {each.node.outputs[0].hint: each.why for each in target.backend.unsupported(model, target)}
    assert found == {
        "a": "it takes no operators of com.microsoft",
        "b": "an operator that nobody knows",
        "y": "com.microsoft::Gelu in it: it takes no operators of com.microsoft",
    }


def test_legalisation_and_refusals_know_each_other() -> None:
    """What the rules rewrite to is not refused."""
    rules = Registry(all_rule_sets()).find("trt-legal")().rule_names()
    assert len(rules) >= 10
