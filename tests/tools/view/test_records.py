"""What a page holds: each statement once, edges through regions, scopes, and what steps share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from geoc.ir.core import Model
from geoc.ir.text import parse_model
from geoc.lowering.targets import get_target
from geoc.tools.files import load_any
from geoc.tools.view.contents import of_dumps, of_models
from geoc.tools.view.pairing import pairs_of_dumps, pairs_of_models
from geoc.tools.view.records import MANY, NODE, PART, REGION, SCOPE

from .conftest import HEAD, NESTED, Make

CHAIN = HEAD + "graph @g(%x: f32[4]) -> (%y: f32[4]) {\n  weight %w: f32[4] = [1.0, 2.0, 3.0, 4.0]\n  %a: f32[4] = Neg(%x)\n  %b: f32[4] = Add(%a, %w)\n  %y: f32[4] = Abs(%b)\n}\n"
def contents(*texts: str) -> dict[str, Any]:
    return of_models([(f"{i}.gir", parse_model(text)) for i, text in enumerate(texts)], get_target("cpu"))


class Found:
    """The records of one graph, by operator and name."""

    def __init__(self, data: dict[str, Any], graph: int = 0) -> None:
        self.data = data
        self.rows = [data["records"][i] for first, count in data["graphs"][graph]["runs"] for i in range(first, first + count)]

    def op(self, row: Any) -> str:
        name: str = self.data["ops"][row[1]][0]
        return name

    def one(self, op: str, name: str = "") -> Any:
        (row,) = [r for r in self.rows if self.op(r) == op and (not name or name in [self.data["names"][n] for n in r[6]])]
        return row

    def path(self, scope: int) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        while scope > 0:
            parent, label, kind = self.data["scopes"][scope][:3]
            found.insert(0, (label, kind))
            scope = parent
        return found


def test_a_chain() -> None:
    data = contents(CHAIN)
    found = Found(data)
    assert [found.op(row) for row in found.rows] == ["Input", "Neg", "Add", "Abs", "Output"]
    neg, add = found.one("Neg"), found.one("Add")
    assert add[3][0] == neg[4][0][0]  # reads what Neg makes
    weight = data["weights"][-1 - add[3][1]]
    assert (weight["name"], weight["text"]) == ("w", "[1.0, 2.0, 3.0, 4.0]")
    assert data["types"][add[4][0][1]] == "f32[4]"
    assert add[7][0] > 0 and add[7][3] in ("launch", "memory", "compute")
    assert json.loads(json.dumps(data, allow_nan=False)) == json.loads(json.dumps(data))


def test_edges_lead_through_regions() -> None:
    found = Found(contents(NESTED))
    branch, loop, neg = found.one("If"), found.one("Loop"), found.one("Neg")
    outputs = [r for r in found.rows if found.op(r) == "Output"]
    # Both branches make the result of the If; the body's second result is the loop's, its condition is nobody's.
    made = [[v for v, _ in r[4]] for r in outputs]
    assert made.count([branch[4][0][0]]) == 2 and made.count([loop[4][0][0]]) == 1 and made.count([]) == 2
    state = found.one("Input", "s")
    assert state[3] == [branch[4][0][0]]  # begins as what the loop is given
    assert found.one("Input", "c")[3] == [found.one("Input", "flag")[4][0][0]]
    assert found.one("Input", "i")[3] == []
    assert found.one("Abs")[3] == neg[4][0][:1]  # captured
    assert found.path(found.one("Abs")[2]) == [("If", NODE), ("then_branch", REGION)]
    assert found.path(found.one("Add")[2]) == [("Loop", NODE), ("body", REGION)]


def test_what_is_the_same_is_held_once() -> None:
    changed = CHAIN.replace("Abs(%b)", "Exp(%b)")
    data = contents(CHAIN, changed)
    first, second = Found(data), Found(data, 1)
    assert len(data["records"]) == len(first.rows) + 2  # Exp, and the output that reads it
    assert first.one("Add") is second.one("Add")
    assert {r[0] for r in second.rows} - {r[0] for r in first.rows} == {second.one("Exp")[0]}


def test_weights_of_two_files_are_compared_by_contents(tmp_path: Path) -> None:
    renamed = CHAIN.replace("%w", "%other")
    data = contents(CHAIN, renamed, CHAIN.replace("4.0]", "5.0]"))
    same = [data["weights"][-1 - Found(data, i).one("Add")[3][1]]["same"] for i in range(3)]
    assert same[0] == same[1] != same[2]


def test_many_inputs_stand_where_they_are_read(model_file: Make) -> None:
    model = load_any(str(model_file("llama-past-ts")))
    inputs, outputs = len(model.graph.inputs), len(model.graph.outputs)
    assert inputs + outputs <= MANY  # few: all outside
    assert all(not found for found in places(contents_of(model)))
    text = HEAD + "graph @g(" + ", ".join(f"%p{i}: f32[4]" for i in range(8)) + ") -> (" + ", ".join(f"%q{i}: f32[4]" for i in range(8)) + ") {\n"
    for i in range(8):
        text += f'  %t{i}: f32[4] = Neg(%p{i})  !"/layer.{i // 2}/Neg"\n  %q{i}: f32[4] = Add(%t{i}, %p{max(i, 1) - 1})  !"/layer.{i // 2}/Add"\n'
    found = Found(contents(text + "}\n"))
    assert found.path(found.one("Input", "p0")[2]) == found.path(found.one("Output", "q0")[2]) == [("layer.0", SCOPE)]
    assert found.path(found.one("Input", "p1")[2]) == []  # two layers read it


def contents_of(model: Model) -> dict[str, Any]:
    return of_models([("m", model)], get_target("cpu"))


def places(data: dict[str, Any]) -> list[list[tuple[str, int]]]:
    found = Found(data)
    return [found.path(r[2]) for r in found.rows if found.op(r) in ("Input", "Output")]


def test_a_large_graph_without_names_is_cut_into_parts() -> None:
    lines = "".join(f"  %n{i + 1}: f32[4] = Neg(%n{i})\n" for i in range(100))
    found = Found(contents(HEAD + f"graph @g(%n0: f32[4]) -> (%n100: f32[4]) {{\n{lines}}}\n"))
    paths = [found.path(r[2]) for r in found.rows if found.op(r) == "Neg"]
    assert all(len(path) == 1 and path[0][1] == PART for path in paths)
    assert 5 < len({path[0][0] for path in paths}) < 20


def test_estimates_are_those_of_the_target() -> None:
    model = parse_model(CHAIN)
    before = [str(v.type) for v in model.graph.inputs]
    data = of_models([("m", model)], get_target("a100"))
    assert data["target"] == "a100" and data["graphs"][0]["sums"][0] > 0
    assert [str(v.type) for v in model.graph.inputs] == before  # sizes are assumed for a copy


def test_without_an_estimate_it_says_why() -> None:
    # Sizes that are assumed for unnamed dimensions fit no reshape to a fixed one.
    text = HEAD + "graph @g(%x: f32[?,?]) -> (%y: f32[7,11]) {\n  weight %s: i64[2] = [7, 11]\n  %y: f32[7,11] = Reshape(%x, %s)\n}\n"
    data = contents(text)
    assert data["graphs"][0]["sums"] is None and "Reshape" in data["graphs"][0]["no_estimate"]
    assert Found(data).one("Reshape")[7] == 0


# Pairs


def test_nodes_of_dumps_pair_by_name() -> None:
    before = parse_model(CHAIN)
    after = parse_model(CHAIN.replace("  %a: f32[4] = Neg(%x)\n", "").replace("Add(%a", "Add(%x"))
    pairs = pairs_of_dumps(before, after)
    assert {(b.op.name, a.op.name) for b, a in pairs.items()} == {("Add", "Add"), ("Abs", "Abs")}


def test_an_operator_that_changed_is_another_node() -> None:
    pairs = pairs_of_dumps(parse_model(CHAIN), parse_model(CHAIN.replace("Abs", "Exp")))
    assert sorted(node.op.name for node in pairs) == ["Add", "Neg"]


def test_nodes_of_models_pair_by_structure() -> None:
    renamed = CHAIN.replace("%a", "%one").replace("%b", "%two")
    pairs = pairs_of_models(parse_model(CHAIN), parse_model(renamed))
    assert sorted((b.output.hint, a.output.hint) for b, a in pairs.items()) == [("one", "a"), ("two", "b"), ("y", "y")]


# Steps


@pytest.fixture(scope="module")
def steps(dump_folder: Make) -> dict[str, Any]:
    return of_dumps(str(dump_folder("bert-ts")), get_target("cpu"), lambda model: None, lambda text, part: None)


def test_steps_say_what_each_pass_did(steps: dict[str, Any], dump_folder: Make) -> None:
    graphs = steps["graphs"]
    names = sorted(path.stem for path in dump_folder("bert-ts").glob("*.gir"))
    assert [f"{i:03d}_{graph['title']}" for i, graph in enumerate(graphs)] == names
    trace = [json.loads(line) for line in (dump_folder("bert-ts") / "trace.jsonl").read_text().splitlines()]
    rewrites = [(w["number"], graph["title"]) for graph in graphs for w in graph["rewrites"]]
    assert sorted(rewrites) == [(line["number"], line["pass"]) for line in trace]
    assert all(len({title for n, title in rewrites if n == number}) == 1 for number, _ in rewrites)


def test_a_fusion_names_its_nodes_and_its_rule(steps: dict[str, Any]) -> None:
    index = next(i for i, graph in enumerate(steps["graphs"]) if graph["title"] == "attention")
    rewrite = next(w for w in steps["graphs"][index]["rewrites"] if w["rule"] == "attention")
    rule = steps["rules"][rewrite["at"]]
    assert rule["place"].startswith("geoc/passes/fuse/attention.rules:")
    assert rule["text"].startswith("rule attention") and rule["text"].endswith("}")
    before, after = Found(steps, index - 1), Found(steps, index)
    taken = [before.op(row) for row in before.rows if row[0] in rewrite["before"]]
    given = [after.op(row) for row in after.rows if row[0] in rewrite["after"]]
    assert {"MatMul", "Softmax"} <= set(taken) and "Attention" in given
    gone = {row[0] for row in before.rows} - {row[0] for row in after.rows}
    assert set(rewrite["before"]) <= gone and "Attention" in steps["names"][rewrite["statements"][-1]]
    assert "!" not in "".join(steps["names"][s] for s in rewrite["statements"])


def test_steps_share_what_they_do_not_change(steps: dict[str, Any]) -> None:
    shown = sum(count for graph in steps["graphs"] for _, count in graph["runs"])
    assert len(steps["records"]) < shown / 3
