"""Names of values and of unknown dimensions in text."""

from __future__ import annotations

import pytest

from geoc.ir.core import Graph, Model, Node, Value
from geoc.ir.dims import floordiv, fresh, symbol
from geoc.ir.equal import equal
from geoc.ir.ops import op
from geoc.ir.text import parse_model, print_graph, print_model, print_node
from geoc.ir.types import F32, sequence_type, tensor_type


def chain(*hints: str) -> Model:
    graph = Graph()
    value = graph.add_input("x", tensor_type(F32, ()))
    for hint in hints:
        result = Value(tensor_type(F32, ()), hint)
        graph.append(Node(op("Relu"), [value], [result]))
        value = result
    graph.set_outputs([value], ["out"])
    return Model(graph)


def names(model: Model) -> list[str]:
    return [line.split(":")[0].strip() for line in print_model(model).split("\n") if line.startswith("  ")]


def test_hints_are_made_unique() -> None:
    assert names(chain("a", "a", "a_1", "a", "")) == ["%a", "%a_1", "%a_1_1", "%a_2", "%relu"]
    assert names(chain("x", "none", "", "")) == ["%x_1", "%none", "%relu", "%relu_1"]


def test_unique_names_stay_when_another_node_comes() -> None:
    before, after = chain("a", "b", "c"), chain("a", "new", "b", "c")
    ours, theirs = (set(print_model(m).split("\n")) for m in (before, after))
    assert len(theirs - ours) == 2  # the new statement, and its user


def test_inner_names_do_not_shadow_outer_ones() -> None:
    model = parse_model(
        "geoc 1\ngraph (%x: ?) -> () {\n  %y = If(%x)\n    with a = () -> (%t) {\n      %t = Relu(%x)\n    }\n"
        "    with b = () -> (%t) {\n      %t = Neg(%x)\n    }\n}\n"
    )
    node = next(iter(model.graph))
    for region in node.regions.values():
        region.outputs[0].hint = "x"
    text = print_model(model)
    assert "%x_1: ? = Relu(%x)" in text and "%x_2: ? = Neg(%x)" in text
    assert "() -> (%x_1 as \"t\")" in text
    assert equal(parse_model(text), model)


def test_contractual_names_survive_renaming() -> None:
    model = chain("x")
    text = print_model(model)
    assert "(%x_1: f32[] as \"out\")" in text
    back = parse_model(text)
    assert back.graph.output_names == ["out"] and back.graph.input_names == ["x"]


def unknown_text(*shapes: tuple[object, ...]) -> list[str]:
    graph = Graph()
    for index, shape in enumerate(shapes):
        graph.add_input(f"i{index}", tensor_type(F32, shape))  # type: ignore[arg-type]
    line = next(line for line in print_model(Model(graph)).split("\n") if line.startswith("graph"))
    return [part.split("]")[0] for part in line.split("[")[1:]]


def test_unknown_dimensions() -> None:
    a, b, c, n = fresh(), fresh(), fresh(), symbol("N")
    assert unknown_text((a, b), (c,)) == ["?,?", "?"]
    assert unknown_text((a, b), (b, c)) == ["?,?a", "?a,?"]
    assert unknown_text((b, a), (a, b)) == ["?a,?b", "?b,?a"]
    assert unknown_text((a + n,), (c,)) == ["?a+N", "?"]
    assert unknown_text((floordiv(b, 2) * a,)) == ["?a*floor(?b,2)"]
    assert unknown_text(*[(d, d) for d in [fresh() for _ in range(28)]])[25:] == ["?z,?z", "?aa,?aa", "?ab,?ab"]


def test_unknowns_do_not_become_equal_by_printing() -> None:
    text = print_model(parse_model("geoc 1\ngraph (%x: f32[?,?], %y: f32[?a,?a]) -> () {\n}\n"))
    x, y = parse_model(text).graph.inputs
    assert x.shape is not None and y.shape is not None
    assert x.shape[0] is not x.shape[1]
    assert y.shape[0] is y.shape[1]
    assert x.shape[0] is not y.shape[0]


@pytest.mark.parametrize("depth", [1, 20])
def test_element_types(depth: int) -> None:
    graph = Graph()
    type_ = tensor_type(F32, (fresh(), symbol("N")))
    nested = type_
    for _ in range(depth):
        nested = sequence_type(nested)  # type: ignore[assignment]
    graph.add_input("x", nested)
    graph.add_input("y", type_)
    model = Model(graph)
    assert "f32[?a,N]" in print_model(model)
    assert equal(parse_model(print_model(model)), model)


def test_single_statements() -> None:
    model = chain("a", "b")
    first = next(iter(model.graph))
    assert print_node(first) == "%a: f32[] = Relu(%x)"
    first.inputs = (Value(None, "gone"), None)
    assert print_node(first) == "%a: f32[] = Relu(%gone, none)"
    assert print_node(model.graph.ret) == "return %b"
    detached = Node(op("If"), [None], [], {}, {"then_branch": Graph()})
    assert print_node(detached) == "() = If(none) with then_branch"


def test_a_graph_alone() -> None:
    model = chain("a")
    assert print_graph(model.graph) == (
        'graph (%x: f32[]) -> (%a: f32[] as "out") {\n  %a: f32[] = Relu(%x)\n}'
    )
