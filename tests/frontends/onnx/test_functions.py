"""Local functions become what they stand for, with the attributes and operands of each call."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, helper

from geoc.ir.errors import InvalidModel
from geoc.lowering.onnx import model_bytes

from .building import BOOL, FLOAT, graph, keys, load, model, node, nodes, run, same, value, weight

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
DOMAIN = "my.ops"


def ref(op: str, inputs: str, outputs: str, kind: int = AttributeProto.FLOAT, **refs: str) -> onnx.NodeProto:
    """A node whose attributes are those of the function around it, by their names there."""
    made = node(op, inputs, outputs)
    for name, of_function in refs.items():
        made.attribute.add(name=name, ref_attr_name=of_function, type=kind)
    return made


def function(
    name: str,
    inputs: str,
    outputs: str,
    body: list[onnx.NodeProto],
    attributes: tuple[str, ...] = (),
    defaults: dict[str, Any] | None = None,
    opset: int = 17,
    overload: str = "",
) -> onnx.FunctionProto:
    made = helper.make_function(
        DOMAIN, name, inputs.split(), outputs.split(), body,
        [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)], list(attributes),
        [helper.make_attribute(k, v) for k, v in (defaults or {}).items()],
    )  # fmt: skip
    if overload:
        made.overload = overload
    return made


def call(name: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return node(name, inputs, outputs, domain=DOMAIN, **attributes)


def calling(
    functions: list[onnx.FunctionProto], *body: onnx.NodeProto, inputs: tuple[str, ...] = ("x",), opset: int = 17, ir: int = 9
) -> onnx.ModelProto:
    declared = [value(name) for name in inputs]
    return model(
        graph(list(body), declared, [onnx.ValueInfoProto(name="y")]),
        functions=functions, opset=opset, ir=ir, domains={DOMAIN: 1},
    )  # fmt: skip


def check(source: onnx.ModelProto, **feeds: np.ndarray) -> list[str]:
    """The operators after import, which run as onnxruntime runs the source."""
    feeds = feeds or {"x": X}
    loaded = load(source)
    written = model_bytes(loaded)
    assert same(run(written, feeds), run(source, feeds))
    assert not onnx.ModelProto.FromString(written).functions
    return keys(loaded)


def test_a_call_becomes_the_body() -> None:
    twice = function("Twice", "a", "r", [node("Add", "a a", "r")])
    source = calling([twice], call("Twice", "x", "t"), call("Twice", "t", "y"))
    assert check(source) == ["Add", "Add"]


def test_nodes_are_named_by_the_path_of_calls() -> None:
    inner = function("Inner", "a", "r", [node("Neg", "a", "r", name="neg")])
    outer = function("Outer", "a", "r", [call("Inner", "a", "t"), node("Abs", "t", "r")])
    outer.node[0].name = "first"
    source = calling([inner, outer], call("Outer", "x", "t"), call("Outer", "t", "y"))
    source.graph.node[0].name, source.graph.node[1].name = "one", "two"
    assert [n.loc for n in nodes(load(source))] == [
        ("one/first/neg",), ("one",), ("two/first/neg",), ("two",),
    ]  # fmt: skip


def test_functions_in_functions_whatever_their_order() -> None:
    inner = function("Inner", "a", "r", [node("Neg", "a", "r")])
    outer = function("Outer", "a", "r", [call("Inner", "a", "t"), node("Abs", "t", "u"), call("Inner", "u", "r")])
    for functions in ([inner, outer], [outer, inner]):
        assert check(calling(functions, call("Outer", "x", "y"))) == ["Neg", "Abs", "Neg"]


def test_attributes_by_reference_with_and_without_defaults() -> None:
    leaky = function(
        "Leaky", "a", "r", [ref("LeakyRelu", "a", "t", alpha="slope"), ref("Elu", "t", "r", alpha="bend")],
        attributes=("slope",), defaults={"bend": 2.0},
    )  # fmt: skip
    source = calling([leaky], call("Leaky", "x", "t", slope=0.5), call("Leaky", "t", "y", slope=0.25, bend=3.0))
    assert check(source) == ["LeakyRelu", "Elu", "LeakyRelu", "Elu"]
    assert [n.attrs["alpha"] for n in nodes(load(source))] == [0.5, 2.0, 0.25, 3.0]


def test_an_attribute_that_the_caller_leaves_out_is_left_out() -> None:
    """Then the operator's own default holds."""
    leaky = function("Leaky", "a", "r", [ref("LeakyRelu", "a", "r", alpha="slope")], attributes=("slope",))
    (found,) = nodes(load(calling([leaky], call("Leaky", "x", "y"))))
    assert found.attrs == {}


def test_attributes_handed_down_two_levels() -> None:
    inner = function("Inner", "a", "r", [ref("LeakyRelu", "a", "r", alpha="slope")], attributes=("slope",))
    passing = ref("Inner", "a", "r", slope="steep")
    passing.domain = DOMAIN
    outer = function("Outer", "a", "r", [passing], attributes=("steep",))
    source = calling([inner, outer], call("Outer", "x", "y", steep=0.125))
    check(source)
    assert nodes(load(source))[0].attrs == {"alpha": 0.125}


def test_an_attribute_in_a_constant_and_in_a_subgraph() -> None:
    then = graph([ref("LeakyRelu", "a", "u", alpha="slope")], [], [onnx.ValueInfoProto(name="u")])
    other = graph([node("Mul", "a k", "v")], [], [onnx.ValueInfoProto(name="v")])
    body = [
        ref("Constant", "", "k", value_float="slope"),
        node("ReduceMax", "a", "m", keepdims=0),
        node("Greater", "m k", "p"),
        node("If", "p", "r", then_branch=then, else_branch=other),
    ]
    choose = function("Choose", "a", "r", body, attributes=("slope",))
    source = calling([choose], call("Choose", "x", "t", slope=0.5), call("Choose", "t", "y", slope=100.0))
    check(source)
    check(source, x=X * 1000)


def test_optional_inputs_left_out() -> None:
    clip = function("Clamp", "a lo hi", "r", [node("Clip", "a lo hi", "r")])
    source = calling(
        [clip], node("Constant", "", "one", value_float=1.0), call("Clamp", "x - one", "t"), call("Clamp", "t", "y")
    )
    first, second = nodes(load(source))
    assert first.inputs[1] is None and first.inputs[2] is not None and len(second.inputs) == 1
    assert same(run(model_bytes(load(source)), {"x": X}), [np.minimum(X, 1)])


def test_an_input_left_out_that_only_a_subgraph_uses() -> None:
    then = graph([node("Clip", "a lo", "u")], [], [onnx.ValueInfoProto(name="u")])
    other = graph([node("Neg", "a", "v")], [], [onnx.ValueInfoProto(name="v")])
    choose = function("Choose", "a p lo", "r", [node("If", "p", "r", then_branch=then, else_branch=other)])
    source = calling([choose], node("Constant", "", "yes", value=weight("", np.array(True))), call("Choose", "x yes", "y"))
    clip = next(n for n in nodes(load(source)) if n.op.key == "Clip")
    assert len(clip.inputs) == 1
    assert same(run(model_bytes(load(source)), {"x": X}), [X])


def test_a_function_called_inside_a_subgraph() -> None:
    twice = function("Twice", "a", "r", [node("Add", "a a", "r")])
    then = graph([call("Twice", "x", "u")], [], [value("u")])
    other = graph([node("Neg", "x", "v")], [], [value("v")])
    body = graph(
        [node("If", "p", "y", then_branch=then, else_branch=other)], [value("x"), value("p", (), BOOL)], [value("y")]
    )
    source = model(body, functions=[twice], domains={DOMAIN: 1}, ir=9)
    for p in (True, False):
        assert sorted(check(source, x=X, p=np.array(p))) == ["Add", "If", "Neg"]


def test_names_inside_a_function_are_its_own() -> None:
    """The body's t is not the caller's, and two calls do not meet."""
    shift = function("Shift", "x", "y", [node("Neg", "x", "t"), node("Abs", "t", "y")])
    source = calling([shift], node("Relu", "x", "t"), call("Shift", "t", "u"), call("Shift", "u", "v"), node("Add", "t v", "y"))
    assert check(source) == ["Relu", "Neg", "Abs", "Neg", "Abs", "Add"]


def test_outputs_left_out_and_inputs_returned() -> None:
    three = function("Three", "a", "p q r", [node("Neg", "a", "p"), node("Abs", "a", "q"), node("Identity", "a", "r")])
    source = calling([three], call("Three", "x", "- t -"), node("Exp", "t", "y"))
    assert "Exp" in check(source)
    straight = function("Straight", "a", "a b", [node("Neg", "a", "b")])
    source = calling([straight], call("Straight", "x", "p q"), node("Add", "p q", "y"))
    assert keys(load(source)) == ["Neg", "Add"]


def test_overloads() -> None:
    one = function("Act", "a", "r", [node("Relu", "a", "r")], overload="one")
    two = function("Act", "a", "r", [node("Neg", "a", "r")], overload="two")
    calls = [call("Act", "x", "t"), call("Act", "t", "y")]
    calls[0].overload, calls[1].overload = "two", "one"
    assert keys(load(calling([one, two], *calls, ir=10))) == ["Neg", "Relu"]


def test_a_function_has_an_opset_of_its_own() -> None:
    """The body's Softmax-11 works on a matrix, the model's Softmax-13 along one axis."""
    old = function("Old", "a", "r", [node("Softmax", "a", "r", axis=1)], opset=11)
    source = calling([old], node("Unsqueeze", "x ax", "u"), call("Old", "u", "t"), node("Softmax", "t", "y", axis=1))
    source.graph.initializer.append(weight("ax", np.array([2])))
    loaded = load(source)
    flat = np.exp(X) / np.exp(X).sum(1, keepdims=True)
    again = np.exp(flat) / np.exp(flat).sum(1, keepdims=True)
    assert same(run(model_bytes(loaded), {"x": X}), [again[:, :, None]])


def test_a_function_that_goes_by_the_name_of_an_operator() -> None:
    mine = helper.make_function(
        "", "Relu", ["a"], ["r"], [node("Neg", "a", "r")], [helper.make_opsetid("", 17)]
    )
    assert keys(load(calling([mine], node("Relu", "x", "y")))) == ["Neg"]


def chain(length: int, calls: int) -> list[onnx.FunctionProto]:
    """Functions each of which calls the next one some times."""
    made = [function("F0", "a", "r", [node("Neg", "a", "r")])]
    for i in range(1, length):
        steps = [call(f"F{i - 1}", f"t{j}" if j else "a", f"t{j + 1}" if j < calls - 1 else "r") for j in range(calls)]
        made.append(function(f"F{i}", "a", "r", steps))
    return made


BROKEN = {
    "itself": ([function("F", "a", "r", [call("F", "a", "r")])], "F", "calls itself"),
    "each other": (
        [function("F", "a", "r", [call("G", "a", "r")]), function("G", "a", "r", [call("F", "a", "r")])],
        "F", "calls itself",
    ),
    "too deep": (chain(1000, 1), "F999", "more than 100 deep"),
    "an output it does not make": ([function("F", "a", "r", [node("Neg", "a", "q")])], "F", "output 'r'"),
    "a name it does not have": ([function("F", "a", "r", [node("Add", "a x", "r")])], "F", "input 'x' is not defined"),
    "a reference to nothing": ([function("F", "a", "r", [ref("Elu", "a", "r", alpha="b")])], "F", "reference 'b'"),
    "an input twice": ([function("F", "a a", "r", [node("Neg", "a", "r")])], "F", "defined twice"),
}  # fmt: skip


@pytest.mark.parametrize("functions, name, complaint", BROKEN.values(), ids=BROKEN)
def test_functions_that_cannot_be(functions: list[onnx.FunctionProto], name: str, complaint: str) -> None:
    with pytest.raises(InvalidModel, match=complaint) as caught:
        load(calling(functions, call(name, "x", "y")))
    assert f"({name})" in str(caught.value) or "of function 'F" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_few_functions_that_unfold_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoc.frontends.onnx.importer.MAX_INLINED", 1000)
    with pytest.raises(InvalidModel, match="unfold to more than 1000 nodes"):
        load(calling(chain(40, 2), call("F39", "x", "y")))


def test_calls_that_do_not_fit_the_function() -> None:
    one = function("One", "a", "r", [node("Neg", "a", "r")])
    with pytest.raises(InvalidModel, match="2 inputs for a function with 1"):
        load(calling([one], call("One", "x x", "y")))
    with pytest.raises(InvalidModel, match="2 outputs for a function with 1"):
        load(calling([one], call("One", "x", "y z")))


def test_declared_types_inside_a_function_are_used() -> None:
    """Only the body says what the custom operator gives."""
    body = [node("Custom", "a", "t", domain="other"), node("Relu", "t", "r")]
    made = function("F", "a", "r", body)
    made.value_info.append(helper.make_tensor_value_info("t", FLOAT, ["N", 7]))
    relu = nodes(load(calling([made], call("F", "x", "y"))))[1]
    assert str(relu.output.type) == "f32[N,7]"
