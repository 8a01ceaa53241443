"""Small models that hold something of everything, to be damaged by mutate.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name: str, shape: Any = ("N", 4), dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def weight(name: str, array: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def floats(*shape: int) -> np.ndarray:
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


node = helper.make_node


def block() -> onnx.ModelProto:
    """Shape arithmetic, a normalisation by hand, Gelu by hand."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axes0"], ["n1"]),
        node("Concat", ["n1", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        node("ReduceMean", ["t"], ["mean"], axes=[-1], keepdims=1),
        node("Sub", ["t", "mean"], ["centred"]),
        node("MatMul", ["centred", "w"], ["m"]),
        node("Add", ["m", "b"], ["pre"]),
        node("Div", ["pre", "sqrt2"], ["d"]),
        node("Erf", ["d"], ["e"]),
        node("Add", ["e", "one"], ["cdf"]),
        node("Mul", ["pre", "cdf"], ["g"]),
        node("Softmax", ["g"], ["s"], axis=-1),
        node("Slice", ["s", "axes0", "two", "axes0"], ["y"]),
    ]
    weights = [
        weight("zero", np.int64(0)), weight("axes0", np.array([0])), weight("rest", np.array([2, 2])), weight("two", np.array([2])),
        weight("w", floats(2, 3)), weight("b", floats(3)), weight("sqrt2", np.float32(1.414)), weight("one", np.float32(1)),
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "block", [value("x")], [value("y", None)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def network() -> onnx.ModelProto:
    """Convolution, pooling, normalisation, Gemm, quantization, a resize; old spellings."""
    channels = {name: abs(floats(4)) + 1 for name in ("scale", "bias", "mean", "var")}
    nodes = [
        node("Pad", ["x"], ["p"], pads=[0, 0, 1, 1, 0, 0, 1, 1]),
        node("Conv", ["p", "k"], ["c"], kernel_shape=[3, 3], strides=[1, 1]),
        node("BatchNormalization", ["c", *channels], ["n"]),
        node("Clip", ["n"], ["r"], min=0.0, max=6.0),
        node("MaxPool", ["r"], ["q"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Upsample", ["q", "up"], ["u"], mode="nearest"),
        node("GlobalAveragePool", ["u"], ["a"]),
        node("Flatten", ["a"], ["f"]),
        node("Gemm", ["f", "w", "b"], ["h"], transB=1),
        node("Dropout", ["h"], ["o"], ratio=0.5),
        node("Split", ["o"], ["s0", "s1"], axis=1),
        node("TopK", ["s1"], ["top", "where"], k=1),
        node("Concat", ["s0", "top"], ["y"], axis=1),
    ]
    weights = [
        weight("k", floats(4, 3, 3, 3)), weight("up", np.array([1, 1, 2, 2], np.float32)), weight("w", floats(6, 4)),
        weight("b", floats(6)), *(weight(k, v) for k, v in channels.items()),
    ]  # fmt: skip
    inputs = [value("x", (1, 3, 8, 8)), *(value(w.name, w.dims, w.data_type) for w in weights)]
    graph = helper.make_graph(nodes, "network", inputs, [value("y", (1, 4)), value("where", (1, 1), INT64)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=3)


def control() -> onnx.ModelProto:
    """If, Loop, Scan, sequences, captures, a constant branch."""
    then = helper.make_graph([node("Add", ["x", "c"], ["t"])], "then", [], [value("t")])
    other = helper.make_graph(
        [node("Constant", [], ["e"], value=weight("", floats(2, 4)))], "else", [], [value("e", (2, 4))]
    )
    body = helper.make_graph(
        [node("Mul", ["v", "c"], ["v1"]), node("Less", ["i", "five"], ["go"]), node("Identity", ["v1"], ["out"])],
        "body",
        [value("i", (), INT64), value("cond", (), BOOL), value("v")],
        [value("go", (), BOOL), value("v1"), value("out")],
        [weight("five", np.int64(5))],
    )
    scan = helper.make_graph(
        [node("Add", ["state", "row"], ["next"]), node("Relu", ["next"], ["r"])],
        "scan", [value("state", (4,)), value("row", (4,))], [value("next", (4,)), value("r", (4,))],
    )  # fmt: skip
    nodes = [
        node("If", ["p"], ["chosen"], then_branch=then, else_branch=other),
        node("Loop", ["n", "", "chosen"], ["last", "all"], body=body),
        node("ReduceSum", ["last", "axis"], ["start"], keepdims=0),
        node("Scan", ["start", "last"], ["final", "rows"], body=scan, num_scan_inputs=1),
        node("SequenceConstruct", ["rows", "last"], ["seq"]),
        node("SequenceAt", ["seq", "zero"], ["y"]),
    ]
    weights = [weight("c", np.float32(2)), weight("axis", np.array([0])), weight("zero", np.int64(0))]
    inputs = [value("x"), value("p", (), BOOL), value("n", (), INT64)]
    graph = helper.make_graph(nodes, "control", inputs, [value("y", None), value("all", (None, "N", 4))], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def everything() -> onnx.ModelProto:
    """Functions, custom operators with attributes of every kind, typed fields, strings, sparse weights, optionals."""
    tensor = helper.make_tensor("t", FLOAT, [3], [1.0, 2.0, 3.0])
    sparse = helper.make_sparse_tensor(weight("sp", floats(2)), weight("", np.array([1, 5])), [2, 4])
    leaky = node("LeakyRelu", ["a"], ["r"])
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    function = helper.make_function(
        "f", "Leaky", ["a", "b"], ["r"], [leaky], [helper.make_opsetid("", 17)], [], [helper.make_attribute("slope", 0.1)]
    )
    custom = node(
        "Custom", ["l", "", "strings", "typed", "half"], ["k"], domain="my.ops", f=0.5, i=3, s="text", t=tensor,
        floats=[1.0, 2.0], ints=[1, 2], strings=["a", "b"], tensors=[tensor], y=helper.make_tensor_type_proto(1, ["N"]),
        p=sparse,
    )  # fmt: skip
    nodes = [
        node("Leaky", ["x"], ["l"], domain="f", slope=0.2),
        custom,
        node("Add", ["l", "sp"], ["q"]),
        node("Optional", ["q"], ["o"]),
        node("OptionalGetElement", ["o"], ["y"]),
        node("QuantizeLinear", ["q", "scale", "zp"], ["z"], axis=0),
    ]
    weights = [
        helper.make_tensor("typed", INT64, [4], [1, -1, 2**40, 0]),
        helper.make_tensor("half", TensorProto.FLOAT16, [2], np.array([1, 2], np.float16)),
        helper.make_tensor("strings", TensorProto.STRING, [2], [b"a", b"\xff"]),
        weight("scale", np.float32(0.1)),
        weight("zp", np.uint8(3)),
    ]
    graph = helper.make_graph(
        nodes, "everything", [value("x", (2, 4))],
        [value("y", (2, 4)), value("k", None), value("z", (2, 4), TensorProto.UINT8)], weights,
        value_info=[value("l", (2, 4)), value("q", (2, 4))],
    )  # fmt: skip
    graph.sparse_initializer.append(sparse)
    imports = [helper.make_opsetid(d, v) for d, v in (("", 17), ("f", 1), ("my.ops", 1))]
    model = helper.make_model(graph, functions=[function], opset_imports=imports, ir_version=9)
    model.metadata_props.add(key="author", value="nobody")
    return model


SEEDS = [block(), network(), control(), everything()]
ENCODED = [proto.SerializeToString() for proto in SEEDS]
