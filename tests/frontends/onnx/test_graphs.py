"""Graphs: names and scopes, inputs that are weights, order, types, subgraphs, what is carried through unread."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper

from geoc.frontends.onnx import load_onnx
from geoc.ir.attributes import EmptyList, SparseTensor
from geoc.ir.dims import symbol
from geoc.ir.equal import difference
from geoc.ir.errors import InvalidModel
from geoc.ir.tensor import Tensor
from geoc.ir.types import F32, I64, STR, map_type, optional_type, sequence_type, tensor_type
from geoc.lowering.onnx import model_bytes

from .building import (
    BOOL,
    FLOAT,
    INT64,
    graph,
    keys,
    load,
    model,
    node,
    nodes,
    run,
    same,
    untyped,
    value,
    weight,
)

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
ONES = weight("w", np.ones((2, 3), np.float32))


# Inputs and weights


def test_before_ir_4_weights_are_listed_as_inputs() -> None:
    body = graph([node("Add", "x w", "y")], [value("x"), value("w")], [value("y")], [ONES])
    for ir in (3, 4):
        loaded = load(model(body, ir=ir))
        assert loaded.graph.input_names == (["x"] if ir == 3 else ["x", "w"])
        assert len(loaded.graph.defaults) == (0 if ir == 3 else 1)
        (add,) = nodes(loaded)
        assert add.inputs[1] is not None and (add.inputs[1].const is not None) == (ir == 3)


def test_an_input_with_a_default_may_be_given_or_left_out_afterwards() -> None:
    body = graph([node("Add", "x w", "y")], [value("x"), value("w")], [value("y")], [ONES])
    written = model_bytes(load(model(body)))
    assert same(run(written, {"x": X}), [X + 1])
    assert same(run(written, {"x": X, "w": 2 * X}), [3 * X])


def test_a_default_that_is_not_of_its_inputs_type() -> None:
    body = graph([node("Add", "x w", "y")], [value("x"), value("w", (3, 3))], [value("y")], [ONES])
    with pytest.raises(InvalidModel, match=r"input 'w' is f32\[3,3\], its initializer is f32\[2,3\]"):
        load(model(body))


def test_an_initializer_nobody_uses_and_one_that_is_returned() -> None:
    unused = weight("unused", np.zeros(1000, np.float32))
    body = graph([node("Relu", "x", "y")], [value("x")], [value("y"), value("w")], [ONES, unused])
    written = model_bytes(load(model(body)))
    assert same(run(written, {"x": X}), [np.maximum(X, 0), np.ones((2, 3), np.float32)])
    assert [t.name for t in onnx.ModelProto.FromString(written).graph.initializer] == ["w"]


# Order and names


def test_nodes_in_any_order() -> None:
    """A file must list nodes in topological order; some do not, and mean what they say all the same."""
    then = graph([node("Add", "d a", "r")], outputs=[value("r")], name="then")
    other = graph([node("Mul", "c c", "r")], outputs=[value("r")], name="else")
    ordered = [
        node("Neg", "x", "a"),
        node("Abs", "a", "b"),
        node("Add", "a b", "c"),
        node("Mul", "c x", "d"),
        node("If", "p", "e", then_branch=then, else_branch=other),
        node("Sub", "e d", "y"),
    ]
    inputs, outputs = [value("x"), value("p", (), BOOL)], [value("y")]
    feeds = {"x": X, "p": np.array(True)}
    expected = run(model(graph(ordered, inputs, outputs)), feeds)
    rng = random.Random(0)
    for _ in range(20):
        shuffled = ordered[:]
        rng.shuffle(shuffled)
        loaded = load(model(graph(shuffled, inputs, outputs)))
        assert same(run(model_bytes(loaded), feeds), expected)


def test_an_order_that_is_one_already_is_kept() -> None:
    body = graph(
        [node("Neg", "x", "b"), node("Abs", "x", "a"), node("Exp", "x", "c"), node("Sum", "c a b", "y")],
        [value("x")],
        [value("y")],
    )
    assert keys(load(model(body))) == ["Neg", "Abs", "Exp", "Sum"]


def test_one_name_in_several_scopes() -> None:
    """Both branches and the graph around them call different things `t` and `w`."""
    then = graph([node("Add", "x w", "t")], [], [value("t")], [weight("w", np.full((2, 3), 5, np.float32))])
    other = graph([node("Sub", "x w", "t")], [], [value("t")])
    body = graph(
        [node("If", "p", "s", then_branch=then, else_branch=other), node("Relu", "s", "t"), node("Add", "t w", "y")],
        [value("x"), value("p", (), BOOL)],
        [value("y")],
        [ONES],
    )
    written = model_bytes(load(model(body)))
    for p, shift in ((True, 5), (False, -1)):
        feeds = {"x": X, "p": np.array(p)}
        assert same(run(written, feeds), [np.maximum(X + shift, 0) + 1])


def test_captures_through_two_levels() -> None:
    innermost = graph([node("Add", "a w", "u")], [], [value("u")])
    inner = graph(
        [
            node("Mul", "x x", "a"),
            node("If", "q", "v", then_branch=innermost, else_branch=graph([node("Neg", "x", "u")], [], [value("u")])),
        ],
        [],
        [value("v")],
    )
    body = graph(
        [
            node("Not", "p", "q"),
            node("If", "p", "y", then_branch=graph([node("Abs", "x", "z")], [], [value("z")]), else_branch=inner),
        ],
        [value("x"), value("p", (), BOOL)],
        [value("y")],
        [ONES],
    )  # fmt: skip
    loaded = load(model(body))
    written = model_bytes(loaded)
    assert same(run(written, {"x": X, "p": np.array(False)}), [X * X + 1])
    assert same(run(written, {"x": X, "p": np.array(True)}), [abs(X)])
    add = next(n for n in nodes(loaded) if n.op.key == "Add")
    assert add.inputs[1] is not None and add.inputs[1].const is not None


def loop(body: onnx.GraphProto, outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
    return model(
        graph(
            [node("Loop", "n - x", " ".join(o.name for o in outputs), body=body)],
            [value("n", (), INT64), value("x")],
            outputs,
        )
    )


def test_a_loop_whose_body_says_nothing_about_types() -> None:
    body = graph(
        [node("Add", "v v", "s"), node("Softmax", "s", "t", axis=-1)],
        [untyped("i"), untyped("c"), untyped("v")],
        [untyped("c"), untyped("s"), untyped("t")],
    )
    source = loop(body, [value("y"), value("z", (None, 2, 3))])
    loaded = load(source)
    softmax = next(n for n in nodes(loaded) if n.op.key == "Softmax")
    assert str(softmax.output.type) == "f32[2,3]" and softmax.attrs["axis"] == 1
    feeds = {"n": np.array(3), "x": X}
    written = model_bytes(loaded)
    steps = [np.exp(k * X) / np.exp(k * X).sum(-1, keepdims=True) for k in (2, 4, 8)]
    assert same(run(written, feeds), [8 * X, np.stack(steps)])
    declared = onnx.ModelProto.FromString(written).graph.node[0].attribute[0].g.input
    assert [i.type.tensor_type.elem_type for i in declared] == [INT64, BOOL, FLOAT]


def test_a_loop_whose_value_grows() -> None:
    """Nothing inside may keep the size that the first iteration has."""
    body = graph(
        [node("Concat", "v x", "s", axis=0), node("Relu", "s", "r")],
        [untyped("i"), untyped("c"), untyped("v")],
        [untyped("c"), untyped("r")],
    )
    loaded = load(loop(body, [value("y", (None, 3))]))
    concat, relu = (n for n in nodes(loaded) if n.op.key in ("Concat", "Relu"))
    for found in (concat, relu):
        assert found.output.shape is not None and not isinstance(found.output.shape[0], int)
    assert same(run(model_bytes(loaded), {"n": np.array(2), "x": X}), [np.maximum(np.concatenate([X] * 3), 0)])


def test_a_loop_with_a_trip_count_and_nothing_else() -> None:
    """Its operands are written out all the same, since runtimes count them."""
    body = graph(
        [node("Mul", "i i", "s")], [value("i", (), INT64), value("c", (), BOOL)], [value("c", (), BOOL), value("s", (), INT64)]
    )
    source = model(graph([node("Loop", "n -", "y", body=body)], [value("n", (), INT64)], [value("y", (None,), INT64)]))
    loaded = load(source)
    written = model_bytes(loaded)
    assert list(onnx.ModelProto.FromString(written).graph.node[0].input) == ["n", ""]
    assert same(run(written, {"n": np.array(4)}), [np.array([0, 1, 4, 9])])


def test_a_body_that_returns_what_it_was_given_stays_as_it_is() -> None:
    body = graph(
        [node("Add", "v k", "w")],
        [value("i", (), INT64), value("c", (), BOOL), value("k"), value("v")],
        [value("c", (), BOOL), value("k"), value("w")],
    )
    nodes_ = [node("Loop", "n - x x", "k1 y", body=body)]
    loaded = load(model(graph(nodes_, [value("n", (), INT64), value("x")], [value("y")])))
    written = model_bytes(loaded)
    assert difference(loaded, load_onnx(written)) is None
    assert same(run(written, {"n": np.array(3), "x": X}), [4 * X])


def test_a_size_of_the_exporters_example_yields_to_what_follows_from_the_inputs() -> None:
    body = graph(
        [node("Transpose", "x", "t", perm=[1, 0]), node("Relu", "t", "y")],
        [value("x", ("N", "M"))],
        [value("y", (16, "N"))],
        value_info=[value("t", (16, 2))],
    )
    loaded = load(model(body))
    assert [str(n.output.type) for n in nodes(loaded)] == ["f32[M,N]", "f32[M,N]"]


# Types


def test_sequences_optionals_and_maps() -> None:
    tensor = helper.make_tensor_type_proto(FLOAT, ["N", 3])
    types = {
        "s": (helper.make_sequence_type_proto(tensor), sequence_type(tensor_type(F32, (symbol("N"), 3)))),
        "o": (helper.make_optional_type_proto(tensor), optional_type(tensor_type(F32, (symbol("N"), 3)))),
        "m": (
            helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(INT64, [])),
            map_type(STR, tensor_type(I64, ())),
        ),
    }
    inputs = [helper.make_value_info(name, proto) for name, (proto, _) in types.items()]
    body = graph([node("Keep", "s o m", "y", domain="my.ops")], inputs, [value("y")])
    loaded = load(model(body, domains={"my.ops": 1}))
    assert [v.type for v in loaded.graph.inputs] == [expected for _, expected in types.values()]
    written = onnx.ModelProto.FromString(model_bytes(loaded)).graph.input
    assert [i.type for i in written] == [proto for proto, _ in types.values()]


def test_dimensions() -> None:
    sizes = ["N", None, "past + new", "N", 0, "my dim", "?", "?", "3"]
    body = graph([node("Relu", "x", "y")], [value("x", sizes)], [value("y", sizes)])
    loaded = load(model(body))
    shape = loaded.graph.inputs[0].shape
    assert shape is not None
    assert shape[0] is shape[3] is symbol("N")
    assert shape[2] == symbol("past") + symbol("new")
    assert shape[4] == 0
    assert shape[5] is symbol("my dim") and shape[8] is symbol("3")
    unknown = [shape[i] for i in (1, 6, 7)]
    assert len(set(unknown)) == 3, "a question mark is no name"
    written = onnx.ModelProto.FromString(model_bytes(loaded)).graph.input[0].type.tensor_type.shape.dim
    found = [d.dim_param or (d.dim_value if d.HasField("dim_value") else None) for d in written]
    assert found == ["N", None, "new+past", "N", 0, "my dim", None, None, "3"]


def test_arithmetic_that_exporters_write_into_names() -> None:
    sizes = ["(batch*total)//batch", "s//2", "s % 4", "Max(s, 1)", "2*(s+1)", "s/2"]
    body = graph([node("Relu", "x", "y")], [value("x", sizes)], [value("y", sizes)])
    loaded = load(model(body))
    assert str(loaded.graph.inputs[0].type) == 'f32[total,floor(s,2),mod(s,4),max(1,s),2*s+2,"s/2"]'
    assert difference(loaded, load_onnx(model_bytes(loaded))) is None


def test_negative_sizes_in_declarations_are_unknown() -> None:
    body = graph([node("Relu", "x", "y")], [value("x", (-1, 3))], [value("y", (-1, 3))])
    shape = load(model(body)).graph.inputs[0].shape
    assert shape is not None and not isinstance(shape[0], int) and shape[1] == 3


def test_absent_operands_and_outputs() -> None:
    body = graph(
        [node("Clip", "x - hi", "c"), node("Dropout", "c - -", "y -"), node("GRU", "s w r", "- h", hidden_size=5)],
        [value("x"), value("s", (1, 3, 2))],
        [value("y"), value("h", (1, 3, 5))],
        [
            weight("hi", np.array(0.5, np.float32)),
            weight("w", np.ones((1, 15, 2), np.float32)),
            weight("r", np.ones((1, 15, 5), np.float32)),
        ],
    )
    source = model(body)
    loaded = load(source)
    clip, dropout, gru = nodes(loaded)
    assert clip.inputs[1] is None and len(dropout.inputs) == 1
    assert not gru.outputs[0].uses and not gru.outputs[0].hint
    written = model_bytes(loaded)
    found = onnx.ModelProto.FromString(written).graph.node
    assert list(found[0].input) == ["x", "", "hi"] and list(found[2].output) == ["", "h"]
    feeds = {"x": X, "s": np.ones((1, 3, 2), np.float32)}
    assert same(run(written, feeds), run(source, feeds))


# What is carried through


def test_metadata_of_all_kinds() -> None:
    body = graph([node("Relu", "x", "y")], [value("x")], [value("y")], doc_string="about the graph")
    body.node[0].doc_string = "about the node"
    body.node[0].metadata_props.add(key="pkg", value="1")
    body.input[0].doc_string = "about x"
    body.output[0].metadata_props.add(key="unit", value="m")
    body.metadata_props.add(key="graph key", value="ü")
    source = model(body, ir=11)
    source.producer_name, source.producer_version, source.domain = "me", "1.2", "org.example"
    source.model_version, source.doc_string = 7, "about the model"
    source.metadata_props.add(key="author", value="nobody")
    algorithm = graph([node("Relu", "x", "y")], [value("x")], [value("y")])
    source.training_info.add(algorithm=algorithm)
    written = onnx.ModelProto.FromString(model_bytes(load(source)))
    assert written == source


def test_a_custom_domain_with_every_kind_of_attribute() -> None:
    tensor = weight("", np.arange(3, dtype=np.float32))
    sparse = helper.make_sparse_tensor(tensor, weight("", np.array([0, 2, 4])), [5])
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, ["N"]))
    inner = graph([node("Relu", "x", "r")], [], [value("r")])
    given = {
        "f": 0.1, "i": -3, "s": "text", "t": tensor, "g": inner, "p": sparse, "y": kind,
        "floats": [0.1, float("inf"), -0.0], "ints": [1, -(2**63)], "strings": ["a", "ü"], "tensors": [tensor, tensor],
        "graphs": [inner, inner], "sparse_tensors": [sparse], "types": [kind, kind],
    }  # fmt: skip
    custom = node("Everything", "x - x", "y -", domain="my.ops", **given)
    custom.attribute.add(name="raw", type=AttributeProto.STRING, s=b"\xff\xfe")
    for number, name in (
        (AttributeProto.INTS, "ints"), (AttributeProto.FLOATS, "floats"), (AttributeProto.STRINGS, "strings"),
        (AttributeProto.TENSORS, "tensors"),
    ):  # fmt: skip
        custom.attribute.add(name=f"no {name}", type=number)
    source = model(graph([custom], [value("x")], [value("y")]), domains={"my.ops": 3, "unused": 1})
    loaded = load(source)
    found = nodes(loaded)[0]
    assert found.op.is_opaque and found.op.key == "my.ops::Everything"
    assert found.attrs["f"] == float(np.float32(0.1)) and found.attrs["s"] == "text"
    assert found.attrs["raw"] == b"\xff\xfe" and found.attrs["no ints"] == EmptyList("ints")
    assert isinstance(found.attrs["t"], Tensor) and isinstance(found.attrs["p"], SparseTensor)
    assert list(found.regions) == ["g", "graphs[0]", "graphs[1]"]
    written = onnx.ModelProto.FromString(model_bytes(loaded))
    assert {o.domain: o.version for o in written.opset_import} == {"": 17, "my.ops": 3}
    (result,) = written.graph.node
    assert list(result.input) == ["x", "", "x"] and list(result.output) == ["y"]
    kept = {a.name: a for a in result.attribute}
    for attribute in custom.attribute:
        if attribute.name not in ("g", "graphs"):
            assert kept[attribute.name] == attribute, attribute.name
    assert [n.op_type for n in kept["g"].g.node] == ["Relu"] and len(kept["graphs"].graphs) == 2


def test_an_unknown_operator_of_the_default_domain_is_kept() -> None:
    source = model(graph([node("Frobnicate", "x", "y", level=3)], [value("x")], [value("y")]))
    loaded = load(source)
    assert nodes(loaded)[0].op.is_opaque
    written = onnx.ModelProto.FromString(model_bytes(loaded)).graph.node[0]
    assert (written.op_type, written.attribute[0].i) == ("Frobnicate", 3)


def test_small_confusions_of_kinds() -> None:
    """Old exporters wrote an int where a float belongs, and one int where a list does."""
    leaky = node("LeakyRelu", "x", "a", alpha=1)
    squeeze = node("Squeeze", "b", "y", axes=0)
    body = graph([leaky, node("Unsqueeze", "a", "b", axes=[0]), squeeze], [value("x")], [value("y")])
    assert leaky.attribute[0].type == squeeze.attribute[0].type == AttributeProto.INT
    loaded = load(model(body, opset=11))
    assert nodes(loaded)[0].attrs == {"alpha": 1.0}
    assert same(run(model_bytes(loaded), {"x": X}), [X])


def test_an_attribute_equal_to_its_default_is_the_same_as_none() -> None:
    body = graph([node("Gemm", "x w", "y", alpha=1.0, transB=1, transA=0)], [value("x")], [value("y", (2, 2))], [ONES])
    assert nodes(load(model(body)))[0].attrs == {"transB": 1}


def test_axes_are_counted_from_the_front() -> None:
    body = graph(
        [node("Softmax", "x", "s", axis=-2), node("ReduceSum", "s axes", "y")],
        [value("x")],
        [value("y", (2, 1))],
        [weight("axes", np.array([-1]))],
    )
    softmax, reduce = nodes(load(model(body)))
    assert softmax.attrs == {"axis": 0}
    assert reduce.inputs[1] is not None and reduce.inputs[1].const is not None
    assert reduce.inputs[1].const.ints() == (1,)


def test_sources_of_every_sort() -> None:
    import io

    import onnx_graphsurgeon as gs

    source = model(graph([node("Relu", "x", "y")], [value("x")], [value("y")]))
    buffer = io.BytesIO(source.SerializeToString())
    for given in (source, buffer.getvalue(), memoryview(buffer.getvalue()), gs.import_onnx(source)):
        assert keys(load_onnx(given)) == ["Relu"]
    with pytest.raises(TypeError, match="int"):
        load_onnx(3)
