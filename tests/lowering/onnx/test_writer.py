"""What is written: names, results of graphs, constants in the right place, functions. Models are given as text."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from geoc.frontends.onnx import load_onnx
from geoc.ir.core import Model
from geoc.ir.equal import difference
from geoc.ir.text import parse_model
from geoc.ir.verify import verify
from geoc.lowering.onnx import model_bytes, to_graphsurgeon, to_proto

from ...frontends.onnx.building import graph, keys, load, model, node, nodes, run, same, value, weight

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
HEAD = 'geoc 1\nopset "" 17\n'


def parse(text: str) -> Model:
    found = parse_model(HEAD + text)
    verify(found)
    return found


def written(text: str) -> onnx.ModelProto:
    """The model as ONNX, which the checker takes."""
    proto = onnx.ModelProto.FromString(model_bytes(parse(text)))
    onnx.checker.check_model(proto)
    return proto


def all_graphs(proto: onnx.GraphProto) -> list[onnx.GraphProto]:
    found = [proto]
    for each in found:
        found.extend(a.g for n in each.node for a in n.attribute if a.HasField("g"))
    return found


def test_names_are_unique_across_nested_graphs() -> None:
    """Every value here has the hint t, inputs of regions and constants as well; t_1 is taken by an output."""
    loaded = load(
        model(
            graph(
                [
                    node("Neg", "x", "a"),
                    node(
                        "If", "p", "b",
                        then_branch=graph([node("Add", "a w", "c")], [], [value("c")], [weight("w", X)]),
                        else_branch=graph([node("Sub", "a x", "d")], [], [value("d")]),
                    ),
                    node("Relu", "b", "t_1"),
                ],
                [value("x"), value("p", (), onnx.TensorProto.BOOL)],
                [value("t_1")],
            )
        )
    )  # fmt: skip
    for found in nodes(loaded):
        for each in (*found.inputs, *found.outputs):
            if each is not None and not each.is_input:
                each.hint = "t"
    proto = onnx.ModelProto.FromString(model_bytes(loaded))
    names = [name for g in all_graphs(proto.graph) for n in g.node for name in n.output]
    names += [t.name for g in all_graphs(proto.graph) for t in g.initializer] + ["x", "p"]
    assert len(names) == len(set(names)) == 8 and "t_1" in names
    for p, expected in ((True, np.maximum(X - X, 0)), (False, np.maximum(-X - X, 0))):
        assert same(run(proto, {"x": X, "p": np.array(p)}), [expected])


def test_values_without_names_get_some() -> None:
    loaded = parse("graph @g(%x: f32[2,3]) -> (%y: f32[2,3]) {\n %a: f32[2,3] = Neg(%x)\n %y: f32[2,3] = Abs(%a)\n}\n")
    (neg, _) = nodes(loaded)
    neg.output.hint = ""
    assert same(run(model_bytes(loaded), {"x": X}), [abs(X)])


def test_an_output_without_a_name_is_left_out_only_where_that_changes_nothing() -> None:
    """How many parts Split makes is what it means; a Dropout's mask is not."""
    loaded = parse(
        """graph @g(%x: f32[2,3]) -> (%a: f32[2,1], %d: f32[2,3]) {
          %a: f32[2,1], _: f32[2,1], _: f32[2,1] = Split(%x, none) {axis=1, num_outputs=3}
          %d: f32[2,3], _: bool[2,3] = Dropout(%x)
        }
        """
    )
    proto = onnx.ModelProto.FromString(model_bytes(loaded))
    assert [len(n.output) for n in proto.graph.node] == [3, 1]
    assert same(run(proto, {"x": X}), [X[:, :1], X])


def test_a_hint_that_an_output_wants_as_its_name() -> None:
    """Only names of inputs and outputs are contracts."""
    text = """graph @g(%x: f32[2,3]) -> (%b: f32[2,3] as "a") {
      %a: f32[2,3] = Neg(%x)
      %b: f32[2,3] = Abs(%a)
    }
    """
    proto = written(text)
    assert [o.name for o in proto.graph.output] == ["a"]
    assert same(run(proto, {"x": X}), [abs(X)])


RETURNED = {
    "an input": ('%x: f32[2,3] as "y"', "", [X]),
    "an input under its own name": ("%x: f32[2,3]", "", [X]),
    "an input, twice": ('%x: f32[2,3], %x: f32[2,3] as "y"', "", [X, X]),
    "one value twice": ('%a: f32[2,3] as "y", %a: f32[2,3] as "z"', "%a: f32[2,3] = Neg(%x)", [-X, -X]),
    "a constant": ('%c: f32[2] as "y"', "weight %c: f32[2] = [1.0, 2.0]", [np.array([1, 2], np.float32)]),
    "a constant twice": (
        '%c: f32[2] as "y", %c: f32[2] as "z"', "weight %c: f32[2] = [1.0, 2.0]", [np.array([1, 2], np.float32)] * 2,
    ),
    "a constant that is used as well": (
        '%c: f32[] as "y", %a: f32[2,3]', "weight %c: f32[] = 2.0\n%a: f32[2,3] = Mul(%x, %c)",
        [np.array(2, np.float32), 2 * X],
    ),
}  # fmt: skip


@pytest.mark.parametrize("outputs, body, expected", RETURNED.values(), ids=RETURNED)
def test_what_a_graph_may_return(outputs: str, body: str, expected: list[np.ndarray]) -> None:
    proto = written(f"graph @g(%x: f32[2,3]) -> ({outputs}) {{\n{body}\n}}\n")
    assert same(run(proto, {"x": X}), expected)
    names = [o.name for o in proto.graph.output]
    assert len(set(names)) == len(expected)


IN_REGIONS = {
    "a value from outside": ("() -> (%a)", "", -X),
    "a value of its own twice": ("() -> (%s, %s)", "%s: f32[2,3] = Exp(%a)", np.exp(-X)),
    "an input of the model": ("() -> (%x)", "", X),
    "a constant": ("() -> (%c)", "weight %c: f32[2,3] = [1, 2, 3, 4, 5, 6]", np.arange(1, 7, dtype=np.float32).reshape(2, 3)),
    "a constant twice": (
        "() -> (%c, %c)", "weight %c: f32[2,3] = [1, 2, 3, 4, 5, 6]", np.arange(1, 7, dtype=np.float32).reshape(2, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("head, body, expected", IN_REGIONS.values(), ids=IN_REGIONS)
def test_what_a_region_may_return(head: str, body: str, expected: np.ndarray) -> None:
    count = head.count("%")
    names = ["%y", "%z"][:count]
    typed = ", ".join(f"{n}: f32[2,3]" for n in names)
    other = ", ".join(["%e"] * count)
    text = f"""graph @g(%x: f32[2,3], %p: bool[]) -> ({typed}) {{
      %a: f32[2,3] = Neg(%x)
      {typed} = If(%p)
        with then_branch = {head} {{
          {body}
        }}
        with else_branch = () -> ({other.replace("%e, %e", "%e, %f")}) {{
          %e: f32[2,3] = Abs(%a)
          %f: f32[2,3] = Abs(%a)
        }}
    }}
    """
    proto = written(text)
    assert same(run(proto, {"x": X, "p": np.array(True)}), [expected] * count)
    assert same(run(proto, {"x": X, "p": np.array(False)}), [abs(X)] * count)


def test_a_loop_that_returns_what_it_was_given() -> None:
    text = """graph @g(%n: i64[], %x: f32[2,3]) -> (%last: f32[2,3], %all: f32[?,2,3]) {
      %last: f32[2,3], %all: f32[?,2,3] = Loop(%n, none, %x)
        with body = (%i: i64[], %c: bool[], %v: f32[2,3]) -> (%c, %v, %v) {
        }
    }
    """
    assert same(run(written(text), {"n": np.array(2), "x": X}), [X, np.stack([X, X])])


def test_constants_are_in_the_innermost_graph_around_their_uses() -> None:
    text = """graph @g(%x: f32[2,3], %p: bool[]) -> (%y: f32[2,3]) {
      weight %all: f32[] = 1.0
      %a: f32[2,3] = Add(%x, %all)
      %y: f32[2,3] = If(%p)
        with then_branch = () -> (%d) {
          weight %both: f32[] = 2.0
          weight %one: f32[] = 3.0
          %b: f32[2,3] = Add(%a, %one)
          %c: f32[2,3] = Mul(%b, %both)
          %d: f32[2,3] = If(%p)
            with then_branch = () -> (%e) {
              %e: f32[2,3] = Sub(%c, %both)
            }
            with else_branch = () -> (%f) {
              %f: f32[2,3] = Add(%c, %all)
            }
        }
        with else_branch = () -> (%h) {
          %h: f32[2,3] = Neg(%a)
        }
    }
    """
    proto = written(text)
    placed = {t.name: g.name for g in all_graphs(proto.graph) for t in g.initializer}
    assert set(placed) == {"all", "both", "one"}
    assert placed["all"] == proto.graph.name
    outer, inner = (
        [t.name for t in g.initializer] for g in all_graphs(proto.graph)[:1] + [all_graphs(proto.graph)[1]]
    )
    assert outer == ["all"] and set(inner) <= {"both", "one"}
    assert same(run(proto, {"x": X, "p": np.array(True)}), [(X + 1 + 3) * 2 - 2])


def test_a_repeated_element_is_written_as_an_operator_only_where_that_is_shorter() -> None:
    for count, operators in ((1000, ["ConstantOfShape", "Add"]), (3, ["Add"])):
        source = graph(
            [node("ConstantOfShape", "s", "c", value=weight("", np.array([2], np.float32))), node("Add", "x c", "y")],
            [value("x", (count,))], [value("y", (count,))], [weight("s", np.array([count]))],
        )  # fmt: skip
        loaded = load(model(source))
        data = model_bytes(loaded)
        assert [n.op_type for n in onnx.ModelProto.FromString(data).graph.node] == operators
        assert difference(loaded, load_onnx(data)) is None
        x = np.ones(count, np.float32)
        assert same(run(data, {"x": x}), [x + 2])


def test_types_of_inner_values_are_written_where_the_source_declared_some() -> None:
    body = graph([node("Neg", "x", "a"), node("Abs", "a", "y")], [value("x")], [value("y")])
    assert not onnx.ModelProto.FromString(model_bytes(load(model(body)))).graph.value_info
    body.value_info.append(value("a"))
    found = onnx.ModelProto.FromString(model_bytes(load(model(body)))).graph.value_info
    assert list(found) == [value("a")]


def test_locations_become_names_of_nodes() -> None:
    body = graph([node("Neg", "x", "y", name="/block/Neg")], [value("x")], [value("y")])
    proto = onnx.ModelProto.FromString(model_bytes(load(model(body))))
    assert [n.name for n in proto.graph.node] == ["/block/Neg"]


def test_names_of_nodes_are_unique() -> None:
    """One node may have become several; runtimes and quantizers tell nodes apart by their names."""
    body = graph([node("Neg", "x", "a", name="n"), node("Abs", "a", "y", name="n")], [value("x")], [value("y")])
    proto = onnx.ModelProto.FromString(model_bytes(load(model(body))))
    assert [n.name for n in proto.graph.node] == ["n", "n_1"]


def test_a_function_is_written_with_its_attributes() -> None:
    """Functions of the IR are those that stand for operators which no schema describes."""
    text = """graph @g(%x: f32[2,3]) -> (%y: f32[2,3]) {
      %y: f32[2,3] = my.ops::Bend(%x) {slope=0.5}
    }

    function "my.ops" "Bend" {slope, lift=1.5} @bend(%x: ?) -> (%z: ? as "y") {
      weight %two: f32[] = 2.0
      %l: ? = LeakyRelu(%x) {alpha=@slope:float}
      %e: ? = Elu(%l) {alpha=@lift:float}
      %z: ? = Mul(%e, %two)
    }
    """
    proto = onnx.ModelProto.FromString(model_bytes(parse(text)))
    (function,) = proto.functions
    assert list(function.attribute) == ["slope"] and function.attribute_proto[0].f == 1.5
    leaky = np.where(X < 0, 0.5 * X, X)
    expected = 2 * np.where(leaky < 0, 1.5 * (np.exp(leaky) - 1), leaky)
    assert same(run(proto, {"x": X}), [expected.astype(np.float32)])
    assert keys(load_onnx(proto)) == ["LeakyRelu", "Elu", "Mul"]


def test_other_forms_in_memory() -> None:
    loaded = parse("graph @g(%x: f32[2,3]) -> (%y: f32[2,3]) {\n %y: f32[2,3] = Abs(%x)\n}\n")
    assert [n.op_type for n in to_proto(loaded).graph.node] == ["Abs"]
    assert [n.op for n in to_graphsurgeon(loaded).nodes] == ["Abs"]
    assert difference(loaded, load_onnx(to_graphsurgeon(loaded))) is None


def test_random_operators_keep_their_seeds() -> None:
    for op, seed in (("RandomNormal", 3.0), ("RandomUniform", None)):
        given = {} if seed is None else {"seed": seed}
        body = graph([node(op, "", "y", shape=[2, 3], **given)], [], [value("y")])
        (found,) = onnx.ModelProto.FromString(model_bytes(load(model(body)))).graph.node
        assert {a.name for a in found.attribute} == {"shape", *given}
        assert run(model_bytes(load(model(body))), {})[0].shape == (2, 3)
