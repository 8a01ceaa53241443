"""diff: what is the same is found to be so whatever its names and order, and edits are found as so many changes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

import geoc
from geoc.ir.core import Model
from geoc.ir.equal import equal
from geoc.tools.diff import Difference, compare_models

from .edits import Plan, edited, random_plan, respelled, to_onnx

ARCHIVE = Path(__file__).parents[2] / "models" / "exports.zip"
NAMES = ("bert-ts", "llama-past-dynamo", "swin-dynamo", "t5-both-ts", "clip-dynamo")


def exported(name: str) -> onnx.ModelProto:
    with zipfile.ZipFile(ARCHIVE) as archive:
        return onnx.load_model_from_string(archive.read(f"{name}.onnx"))


def in_order_of(before: Model, after: Model, found: Difference) -> None:
    """Bring the nodes of `after` into the order of those of `before` that correspond."""
    for ours, theirs in found.matching.graphs:
        for node in list(ours):
            theirs.move(found.matching.nodes[node], None)


def is_proven(before: Model, after: Model, found: Difference) -> bool:
    """That what is said to be the same is so, by the lockstep comparison of ir/equal."""
    in_order_of(before, after, found)
    return equal(before, after)


@pytest.mark.parametrize("name", NAMES)
def test_other_names_and_another_order_are_the_same(name: str) -> None:
    source = exported(name)
    before, after = geoc.load(source), geoc.load(respelled(source, 1))
    found = compare_models(before, after)
    assert found.same, [(c.kind, c.where, c.details) for c in found.changes]
    assert len(found.matching.nodes) == before.node_count
    assert found.quiet["renamed"] > 50 and found.quiet["moved"] > 10
    assert is_proven(before, after, found)


def bert_with(change: str) -> onnx.ModelProto:
    model = exported("bert-ts")
    nodes = model.graph.node
    if change == "operator":
        next(n for n in nodes if n.op_type == "Erf").op_type = "Tanh"
    elif change == "attribute":
        next(n for n in nodes if n.op_type == "Softmax").attribute[0].i = 2
    elif change == "operand":
        node = next(n for n in nodes if n.op_type == "Add" and "attention/output" in n.name)
        node.input[1] = node.input[0]
    elif change == "weight":
        weight = next(w for w in model.graph.initializer if len(w.dims) == 2)
        array = numpy_helper.to_array(weight).copy()
        array[0, 0] += 1
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    elif change == "inserted":
        node = next(n for n in nodes if n.op_type == "Softmax")
        at = list(nodes).index(node)
        extra = onnx.helper.make_node("Identity", [node.input[0]], ["extra"], name="/extra")
        node.input[0] = "extra"
        nodes.insert(at, extra)
    elif change == "removed":
        node = next(n for n in nodes if n.op_type == "Erf")
        for other in nodes:
            other.input[:] = [node.input[0] if name == node.output[0] else name for name in other.input]
        nodes.remove(node)
    return model


KINDS = {
    "operator": "replaced", "attribute": "changed", "operand": "changed", "weight": "weight", "inserted": "added",
    "removed": "removed",
}  # fmt: skip


@pytest.mark.parametrize("change", KINDS)
@pytest.mark.parametrize("spelled", [False, True], ids=["as-is", "respelled"])
def test_one_node_changed_is_one_change(change: str, spelled: bool) -> None:
    other = bert_with(change)
    found = compare_models(geoc.load(exported("bert-ts")), geoc.load(respelled(other, 2) if spelled else other))
    assert [c.kind for c in found.changes] == [KINDS[change]]
    assert len(found.changes[0].before) <= 1 or change == "weight"
    assert len(found.changes[0].after) <= 1 or change == "weight"


def test_exporters_differ_in_little_after_the_optimizer() -> None:
    models = [geoc.load(exported(f"bert-{kind}")) for kind in ("ts", "dynamo")]
    raw = len(compare_models(*models).changes)
    for model in models:
        geoc.optimize(model, level=2, check="off")
    found = compare_models(*models)
    assert len(found.changes) <= 2 < raw
    assert len(found.matching.nodes) >= 0.9 * models[0].node_count


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 40), st.integers(0, 4), st.booleans())
def test_edits_are_so_many_changes(seed: int, size: int, count: int, spelled: bool) -> None:
    plan: Plan = random_plan(seed, size)
    other = plan
    for number in range(count):
        other = edited(other, seed + number)
    source, target = to_onnx(plan), to_onnx(other)
    before, after = geoc.load(source), geoc.load(respelled(target, seed) if spelled else target)
    differ = not equal(geoc.load(source), geoc.load(target))
    found = compare_models(before, after)
    if found.same:
        assert is_proven(before, after, found)
    else:
        assert differ
        assert len(found.changes) <= 3 * count, (other.edited, [(c.kind, c.where, c.details) for c in found.changes])


def test_a_branch_changes_inside() -> None:
    text = """geoc 1
opset "" 20
graph @main(%x: f32[4], %k: bool[]) -> (%y: f32[4]) {
  %a: f32[4] = Relu(%x)
  %y: f32[4] = If(%k)
    with then_branch = () -> (%t) {
      %t: f32[4] = LeakyRelu(%a) {alpha=0.5}
    }
    with else_branch = () -> (%e) {
      %e: f32[4] = Neg(%a)
    }
}
"""
    from geoc.ir.text import parse_model

    found = compare_models(parse_model(text), parse_model(text.replace("alpha=0.5", "alpha=0.25")))
    assert [(c.kind, c.details) for c in found.changes] == [("changed", ["alpha 0.5 -> 0.25"])]
    found = compare_models(parse_model(text), parse_model(text.replace("Neg", "Abs")))
    assert [c.kind for c in found.changes] == ["replaced"]
    assert compare_models(parse_model(text), parse_model(text.replace("%t", "%q").replace("%a", "%r"))).same


def test_nodes_that_leave_a_branch_are_moved() -> None:
    from geoc.ir.text import parse_model

    head = 'geoc 1\nopset "" 20\ngraph @main(%x: f32[4], %k: bool[]) -> (%y: f32[4]) {\n'
    inside = head + """  %y: f32[4] = If(%k)
    with then_branch = () -> (%t) {
      %a: f32[4] = Exp(%x)
      %b: f32[4] = Tanh(%a)
      %t: f32[4] = Neg(%b)
    }
    with else_branch = () -> (%e) {
      %e: f32[4] = Abs(%x)
    }
}
"""
    hoisted = head + """  %a: f32[4] = Exp(%x)
  %b: f32[4] = Tanh(%a)
  %y: f32[4] = If(%k)
    with then_branch = () -> (%t) {
      %t: f32[4] = Neg(%b)
    }
    with else_branch = () -> (%e) {
      %e: f32[4] = Abs(%x)
    }
}
"""
    taken = head + "  %a: f32[4] = Exp(%x)\n  %b: f32[4] = Tanh(%a)\n  %y: f32[4] = Neg(%b)\n}\n"
    found = compare_models(parse_model(inside), parse_model(hoisted))
    assert [(c.kind, len(c.before), c.details) for c in found.changes] == [
        ("moved", 2, ["from then_branch of If %y to the main graph"])
    ]
    found = compare_models(parse_model(inside), parse_model(taken))
    assert sorted((c.kind, len(c.before), len(c.after)) for c in found.changes) == [("moved", 3, 3), ("removed", 1, 0)]
    found = compare_models(parse_model(taken), parse_model(inside))
    assert sorted((c.kind, len(c.before), len(c.after)) for c in found.changes) == [("added", 0, 1), ("moved", 3, 3)]


def test_types_that_follow_are_no_changes_of_their_own() -> None:
    text = 'geoc 1\nopset "" 20\ngraph @main(%x: f32[B,4]) -> (%y: f32[B,4]) {\n'
    text += "  %a: f32[B,4] = Relu(%x)\n  %y: f32[B,4] = Neg(%a)\n}\n"
    from geoc.ir.text import parse_model

    found = compare_models(parse_model(text), parse_model(text.replace("[B,4]", "[N,4]")))
    assert [(c.kind, c.details) for c in found.changes] == [("input", ["type f32[B,4] -> f32[N,4]"])]
    found = compare_models(parse_model(text), parse_model(text.replace("[B,4]", "[B,5]")))
    assert {c.kind for c in found.changes} == {"input", "output"} and found.followed == 2


def test_inputs_that_are_renamed_or_come_are_told() -> None:
    text = 'geoc 1\nopset "" 20\ngraph @main(%x: f32[4], %z: f32[4]) -> (%y: f32[4]) {\n  %y: f32[4] = Sub(%x, %z)\n}\n'
    from geoc.ir.text import parse_model

    renamed = parse_model(text.replace("%x", "%q"))
    assert [(c.kind, c.where, c.details) for c in compare_models(parse_model(text), renamed).changes] == [("input", "x", ["renamed q"])]
    more = parse_model(text.replace("%z: f32[4])", "%z: f32[4], %more: i64[])"))
    assert [c.details for c in compare_models(parse_model(text), more).changes] == [["added: i64[]"]]
    exchanged = parse_model(text.replace("%x: f32[4], %z: f32[4]", "%z: f32[4], %x: f32[4]"))
    assert [c.where for c in compare_models(parse_model(text), exchanged).changes] == ["order of inputs"]


def chain(length: int, alpha_at: int) -> Model:
    rng = np.random.default_rng(0)
    nodes = []
    weights = [numpy_helper.from_array(rng.standard_normal((4, 4)).astype(np.float32), f"w{i}") for i in range(length // 10)]
    last = "x0"
    for i in range(length):
        if i % 10 == 0:
            nodes.append(onnx.helper.make_node("MatMul", [last, f"w{i // 10}"], [f"s{i}"]))
        elif i % 10 in (3, 6):
            nodes.append(onnx.helper.make_node("Add", [last, f"s{i - 2}"], [f"s{i}"]))
        else:
            nodes.append(onnx.helper.make_node("LeakyRelu", [last], [f"s{i}"], alpha=0.5 if i != alpha_at else 0.25))
        last = f"s{i}"
    one = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(nodes, "g", [one("x0", 1, [4, 4])], [one(last, 1, [4, 4])], weights)
    return geoc.load(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10))


def test_ten_thousand_nodes_take_seconds_and_grow_linearly() -> None:
    times = {}
    for length in (1_000, 10_000):
        before, after = chain(length, -1), chain(length, length // 2 + 1)
        begun = perf_counter()
        found = compare_models(before, after)
        times[length] = perf_counter() - begun
        assert [c.details for c in found.changes] == [["alpha 0.5 -> 0.25"]]
    assert times[10_000] < 5 and times[10_000] < 15 * times[1_000] + 0.2
