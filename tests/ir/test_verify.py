"""Each rule of the verifier: a broken graph that it refuses, beside sound ones that it accepts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from geoc.ir.attributes import AttrRef
from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, Node, Value, constant
from geoc.ir.dims import Dim, symbol
from geoc.ir.errors import InvalidModel
from geoc.ir.ops import op
from geoc.ir.tensor import Tensor
from geoc.ir.text import parse_model
from geoc.ir.types import F16, F32, I64, TensorType, tensor_type
from geoc.ir.verify import verify

TEXT = """geoc 1
graph @main(%x: f32[B,4], %flag: bool[], %k: i64[1] = [2]) -> (%y: f32[B,4], %x: f32[B,4], %w: f32[4]) {
  weight %w: f32[4] = [1.0, 2.0, 3.0, 4.0]
  %a: f32[B,4] = Add(%x, %w)
  %b: f32[B,4] = LeakyRelu(%a) {alpha=0.5}
  %top: f32[B,2], %at: i64[B,2] = TopK(%b, %k)
  %y: f32[B,4] = If(%flag)
    with then_branch = () -> (%t) {
      %s: f32[B,4] = Mul(%b, %w)
      %t: f32[B,4] = my::Anything(%s, none, %a) {anything="goes"}
    }
    with else_branch = () -> (%a) {
    }
}
function "d" "f" {alpha} (%p: ?) -> (%q) {
  %q: ? = LeakyRelu(%p) {alpha=@alpha:float}
}
"""


def sound() -> Model:
    return parse_model(TEXT)


def node(model: Model, name: str) -> Node:
    return next(n for n in model.walk() if n.op.name == name)


def region(model: Model, name: str = "then_branch") -> Graph:
    return node(model, "If").regions[name]


def test_a_sound_model() -> None:
    verify(sound())


SOUND = [
    "%z: ? = Relu(%x)",
    "_, %i: i64[B,4] = TopK(%x, %k)",
    "%z: f32[B,4], _ = Dropout(%x)",
    "%z: f32[B,4] = Clip(%x, none, %x)",
    "%z: f32[B,4] = Sum(%x, %x, %x)",
    "%z: f16[B,4] = Cast(%x) {to=10}",
    "%z: f32[B,4] = Upsample@9(%x, %x)",
    "%z: f32[B,8] = Concat(%x, %x) {axis=1}",
    "%z: f32[B,4] = com.microsoft::Gelu(%x)",
    "%z: f32[4] = Where(%flag, %x, %x)",
    "%z: seq(f32[B,4]) = SequenceConstruct(%x, %x)",
    '%z: f32[B,4] = nobody::Knows(%x) {a=[1, 2], b=[], c="s"}',
]


@pytest.mark.parametrize("line", SOUND)
def test_sound_statements(line: str) -> None:
    verify(parse_model(TEXT.replace("  %a:", f"  {line}\n  %a:", 1)))


UNFIT = [
    ("%z: f32[B,4] = Add(%x)", "1 inputs, at least 2"),
    ("%z: f32[B,4] = Relu(%x, %x)", "2 inputs, at most 1"),
    ("%z: f32[B,4] = Add(none, %x)", "is missing"),
    ("%z: f32[B,4], %q: f32[B,4] = Relu(%x)", "2 outputs, at most 1"),
    ("%z: f32[B,4] = Relu(%x) {alpha=0.5}", "attribute alpha is not known"),
    ("%z: f32[B,4] = Concat(%x, %x)", "attribute axis is required"),
    ('%z: f32[B,4] = LeakyRelu(%x) {alpha="a"}', "'alpha' is string, must be float"),
    ("%z: f32[B,4] = Transpose(%x) {perm=1}", "'perm' is int, must be ints"),
    ("%z: f32[B,4] = Transpose(%x) {perm=[0.5, 1.5]}", "'perm' is floats, must be ints"),
    ("%z: f32[B,4] = LeakyRelu(%x) {alpha=@alpha:float}", "refers to an unknown parameter"),
    ("%z: f32[B,4] = Add(%x, %k)", "B is tensor(int64), but T is tensor(float)"),
    ("%z: f16[B,4] = Add(%x, %x)", "C is tensor(float16), but T is tensor(float)"),
    ("%z: bool[1] = Sqrt(%flag)", "X does not admit tensor(bool)"),
    ("%z: f32[B,4] = Not(%x)", "X does not admit tensor(float)"),
    ("%z: f32[B,4] = SequenceLength(%x)", "does not admit tensor(float)"),
    ("%z: f32[B,4] = If(%flag)", "_branch is required"),
]


@pytest.mark.parametrize(("line", "reason"), UNFIT)
def test_statements_that_do_not_fit_their_operator(line: str, reason: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        verify(parse_model(TEXT.replace("  %a:", f"  {line}\n  %a:", 1)))
    assert reason in caught.value.message
    assert caught.value.message.endswith(line)
    assert caught.value.place == "graph main"


def test_a_second_statement_of_a_known_kind_is_checked_as_well() -> None:
    line = "%z: f32[B,4] = LeakyRelu(%x) {alpha="
    text = TEXT.replace("  %a:", f"  {line}0.25}}\n  %a:", 1)
    verify(parse_model(text))
    with pytest.raises(InvalidModel, match="'alpha' is int, must be float"):
        model = parse_model(text)
        node(model, "LeakyRelu").attrs["alpha"] = 1
        verify(model)


# Each breaks one rule by hand; the model was sound before.


def drop_use(m: Model) -> None:
    m.graph.inputs[0].uses.popitem()


def add_use(m: Model) -> None:
    m.graph.inputs[0].uses[node(m, "TopK"), 0] = None


def use_by_detached_node(m: Model) -> None:
    Node(op("Relu"), [node(m, "Add").output], [Value(None)])


def use_of_a_constant_by_detached_node(m: Model) -> None:
    Node(op("Relu"), [node(m, "Add").inputs[1]], [Value(None)])


def wrong_producer(m: Model) -> None:
    node(m, "Add").output.producer = node(m, "TopK")


def wrong_index(m: Model) -> None:
    node(m, "TopK").outputs[1].index = 0


def two_producers(m: Model) -> None:
    a, b = node(m, "Add"), node(m, "LeakyRelu")
    b.outputs = a.outputs


def output_is_input(m: Model) -> None:
    node(m, "Add").output.graph = m.graph


def output_is_constant(m: Model) -> None:
    node(m, "Add").output.const = Tensor.of(1.0, F32)


def use_before_definition(m: Model) -> None:
    m.graph.move(node(m, "LeakyRelu"), node(m, "Add"))


def use_of_own_output(m: Model) -> None:
    n = node(m, "LeakyRelu")
    n.set_input(0, n.output)


def capture_of_the_regions_own_result(m: Model) -> None:
    node(m, "Mul").set_input(0, node(m, "If").output)


def use_of_an_inner_value_outside(m: Model) -> None:
    m.graph.append(Node(op("Relu"), [region(m).outputs[0]], [Value(None, "z")]))


def use_of_another_regions_value(m: Model) -> None:
    region(m, "else_branch").append(Node(op("Relu"), [node(m, "Mul").output], [Value(None, "z")]))


def capture_by_a_function(m: Model) -> None:
    body = m.functions["d", "f", ""].graph
    body.append(Node(op("Relu"), [m.graph.inputs[0]], [Value(None, "z")]))


def wrong_parent(m: Model) -> None:
    region(m).parent = node(m, "Add")


def region_of_two_nodes(m: Model) -> None:
    first = node(m, "If")
    other = Node(op("If"), first.inputs, [Value(None, "z")], {}, dict(first.regions))
    m.graph.append(other)


def main_graph_with_a_parent(m: Model) -> None:
    m.graph.parent = node(m, "If")


def wrong_graph(m: Model) -> None:
    node(m, "LeakyRelu").graph = region(m)


def wrong_link(m: Model) -> None:
    node(m, "LeakyRelu").prev = None


def wrong_size(m: Model) -> None:
    m.graph.size += 1


def wrong_last(m: Model) -> None:
    m.graph.last = m.graph.first


def wrong_order_number(m: Model) -> None:
    node(m, "LeakyRelu")._order = 0


def not_in_the_index(m: Model) -> None:
    del m.graph.index[op("Add")]


def changed_operator_without_index(m: Model) -> None:
    node(m, "Add").op = op("Sub")


def stale_index(m: Model) -> None:
    m.graph.index[op("Sub")] = {node(m, "Mul"): None}


def input_of_another_graph(m: Model) -> None:
    m.graph.inputs[0].graph = region(m)


def input_at_another_place(m: Model) -> None:
    m.graph.inputs[0].index = 1


def input_without_name(m: Model) -> None:
    m.graph.input_names[0] = ""


def missing_input_name(m: Model) -> None:
    m.graph.input_names.pop()


def inputs_of_one_name(m: Model) -> None:
    m.graph.input_names[0] = "flag"


def outputs_of_one_name(m: Model) -> None:
    m.graph.output_names[:2] = ["y", "y"]


def output_without_name(m: Model) -> None:
    m.graph.output_names[0] = ""


def missing_output_name(m: Model) -> None:
    region(m).output_names.pop()


def output_under_the_name_of_an_input(m: Model) -> None:
    m.graph.output_names[:2] = ["x", "other"]


def ret_of_another_graph(m: Model) -> None:
    m.graph.ret.graph = region(m)


def absent_output(m: Model) -> None:
    m.graph.ret.set_input(0, None)


def default_of_a_stranger(m: Model) -> None:
    m.graph.defaults[node(m, "Add").output] = Tensor.of([1], I64)


def default_of_another_type(m: Model) -> None:
    m.graph.defaults[m.graph.inputs[2]] = Tensor.of([1, 2], I64)


def constant_of_another_shape(m: Model) -> None:
    weight = node(m, "Add").inputs[1]
    assert weight is not None
    weight.type = tensor_type(F32, (1, 4))


def constant_with_a_producer(m: Model) -> None:
    weight = node(m, "Add").inputs[1]
    assert weight is not None
    weight.producer = node(m, "Add")


def constant_that_is_an_input(m: Model) -> None:
    m.graph.inputs[0].const = Tensor.of([1.0], F32)


def type_not_interned(m: Model) -> None:
    node(m, "Add").output.type = TensorType(F32, (symbol("B"), 4))


def dim_not_interned(m: Model) -> None:
    copy = Dim(symbol("B").terms)
    node(m, "Add").output.type = tensor_type(F32, (copy, 4))


def negative_dim(m: Model) -> None:
    node(m, "Add").output.type = tensor_type(F32, (-1, 4))


def numpy_dim(m: Model) -> None:
    node(m, "Add").output.type = tensor_type(F32, (np.int64(77), 4))  # type: ignore[arg-type]


def type_that_is_none(m: Model) -> None:
    node(m, "Add").output.type = "f32"  # type: ignore[assignment]


def attribute_list(m: Model) -> None:
    node(m, "Anything").attrs["x"] = [1, 2]


def attribute_bool(m: Model) -> None:
    node(m, "Anything").attrs["x"] = True


def attribute_too_large(m: Model) -> None:
    node(m, "Anything").attrs["x"] = 1 << 63


def attribute_of_mixed_kinds(m: Model) -> None:
    node(m, "Anything").attrs["x"] = (1, 2.0)


def attribute_with_more_than_float32(m: Model) -> None:
    node(m, "LeakyRelu").attrs["alpha"] = 0.1


def attribute_of_an_array(m: Model) -> None:
    node(m, "Anything").attrs["x"] = np.float32(1)


def reference_to_no_parameter(m: Model) -> None:
    body = m.functions["d", "f", ""].graph
    next(iter(body)).attrs["alpha"] = AttrRef("beta", "float")


def reference_of_another_kind(m: Model) -> None:
    body = m.functions["d", "f", ""].graph
    next(iter(body)).attrs["alpha"] = AttrRef("alpha", "int")


def region_of_an_unknown_name(m: Model) -> None:
    n = node(m, "If")
    n.regions = {**n.regions, "third": n.regions["else_branch"]}


def function_under_another_name(m: Model) -> None:
    m.functions["d", "g", ""] = m.functions.pop(("d", "f", ""))


RULES: list[tuple[Callable[[Model], None], str]] = [
    (drop_use, "does not list this use: "),
    (add_use, "%x lists a use as operand 0 of a statement that is not in the model or does not use it"),
    (use_by_detached_node, "%a lists a use as operand 0"),
    (use_of_a_constant_by_detached_node, "%w lists a use as operand 0"),
    (wrong_producer, "output 0 does not know its place: %a: "),
    (wrong_index, "output 1 does not know its place: %top"),
    (two_producers, "output 0 does not know its place"),
    (output_is_input, "output 0 does not know its place: %a: "),
    (output_is_constant, "output 0 is a constant as well: %a: "),
    (use_before_definition, "operand 0 is not defined before this use: %b: "),
    (use_of_own_output, "operand 0 is not defined before this use: %b: "),
    (capture_of_the_regions_own_result, "operand 0 is not defined before this use: %s: "),
    (use_of_an_inner_value_outside, "operand 0 is not defined before this use: %z: "),
    (use_of_another_regions_value, "operand 0 is not defined before this use: %z: "),
    (capture_by_a_function, "operand 0 is not defined before this use: %z: "),
    (wrong_parent, "region 'then_branch' does not know its node: %y: "),
    (region_of_two_nodes, "region 'then_branch' does not know its node: %y: "),
    (main_graph_with_a_parent, "is also a region"),
    (wrong_graph, "linked wrongly: %b: "),
    (wrong_link, "linked wrongly: %b: "),
    (wrong_size, "counts 5 statements, it has 4"),
    (wrong_last, "counts 4 statements, it has 4"),
    (wrong_order_number, "order number out of order: %b: "),
    (not_in_the_index, "missing in the index of operators: %a: "),
    (changed_operator_without_index, "missing in the index of operators: %a: "),
    (stale_index, "index of operators holds statements"),
    (input_of_another_graph, "input 'x' does not know its place"),
    (input_at_another_place, "input 'x' does not know its place"),
    (input_without_name, "an input has no name"),
    (missing_input_name, "3 inputs with 2 names"),
    (inputs_of_one_name, "two inputs are named 'flag'"),
    (outputs_of_one_name, "two outputs are named 'y'"),
    (output_without_name, "an output has no name"),
    (missing_output_name, "1 outputs with 0 names: return %t"),
    (output_under_the_name_of_an_input, "an input and another value, an output, are both named 'x'"),
    (ret_of_another_graph, "the outputs belong to another graph"),
    (absent_output, "an output is absent: return none"),
    (default_of_a_stranger, "a default value belongs to no input"),
    (default_of_another_type, "the default of input 'k' is i64[2], not i64[1]"),
    (constant_of_another_shape, "operand 1 is declared as f32[1,4], its data is f32[4]: %a: "),
    (constant_with_a_producer, "operand 1 is a constant with a producer: %a: "),
    (constant_that_is_an_input, "input 'x' has a producer or is a constant"),
    (type_not_interned, "type f32[B,4] is not interned: %a: "),
    (dim_not_interned, "dimension B is not interned: %a: "),
    (negative_dim, "has the dimension -1: %a: "),
    (numpy_dim, "has the dimension np.int64(77): %a: "),
    (type_that_is_none, "has a type that is none: 'f32'"),
    (attribute_list, "attribute 'x' holds no value of an attribute: [1, 2]"),
    (attribute_bool, "attribute 'x' holds no value of an attribute: True"),
    (attribute_too_large, "attribute 'x' holds no value of an attribute: 9223372036854775808"),
    (attribute_of_mixed_kinds, "attribute 'x' holds no value of an attribute: (1, 2.0)"),
    (attribute_with_more_than_float32, "attribute 'alpha' holds no value of an attribute: 0.1"),
    (attribute_of_an_array, "attribute 'x' holds no value of an attribute"),
    (reference_to_no_parameter, "attribute 'alpha' refers to an unknown parameter: %q: "),
    (reference_of_another_kind, "attribute 'alpha' is int, must be float: %q: "),
    (region_of_an_unknown_name, "If has no region 'third': %y: "),
    (function_under_another_name, "function ('d', 'g', '') is called d::f"),
]


@pytest.mark.parametrize(("break_it", "reason"), RULES, ids=[f.__name__ for f, _ in RULES])
def test_rule(break_it: Callable[[Model], None], reason: str) -> None:
    model = sound()
    verify(model)
    break_it(model)
    with pytest.raises(InvalidModel) as caught:
        verify(model)
    assert reason in caught.value.message
    assert "\n" not in str(caught.value)


def test_every_breaking_function_is_a_rule() -> None:
    breaking = {"m": "Model", "return": "None"}
    names = {n for n, f in globals().items() if getattr(f, "__annotations__", None) == breaking}
    assert names == {f.__name__ for f, _ in RULES}


def test_edits_through_the_core_keep_a_model_sound() -> None:
    model = sound()
    add, leaky = node(model, "Add"), node(model, "LeakyRelu")
    graph = model.graph
    extra = graph.insert(Node(op("Neg"), [add.output], [Value(add.output.type)]), leaky)
    verify(model)
    leaky.set_input(0, extra.output)
    add.output.replace_with(graph.inputs[0])
    verify(model)
    graph.erase(add)
    verify(model)
    for _ in range(40):  # more insertions at one place than order numbers have room for
        extra = graph.insert(Node(op("Neg"), [graph.inputs[0]], [Value(None)]), leaky)
        verify(model)
    assert leaky.prev is extra and extra.is_before(leaky)
    verify(model)


def test_a_value_may_be_of_any_float_when_types_are_unknown() -> None:
    graph = Graph("g")
    x = graph.add_input("x", None)
    y = Value(tensor_type(F16, None), "y")
    graph.append(Node(op("Add"), [x, constant(Tensor.of(1.0, F16))], [y]))
    graph.set_outputs([y])
    verify(Model(graph))


def test_an_output_that_an_operator_always_has_may_be_unused_and_without_a_name() -> None:
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (2, 5)))
    b = Builder(graph)
    graph.set_outputs([b.node("TopK", [x, b.ints([3])], outputs=2).outputs[0]], ["values"])
    verify(Model(graph))
