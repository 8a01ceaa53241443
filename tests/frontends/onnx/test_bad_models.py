"""What is no model, or one that breaks ONNX's rules: one line that names the file and the place, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper

from geoc.frontends.onnx import load_onnx
from geoc.ir.errors import FormatError, GeocError, InvalidModel
from geoc.ir.verify import verify
from geoc.lowering.onnx import model_bytes

from .building import BOOL, FLOAT, INT64, graph, model, node, nodes, value, weight

ONES = weight("w", np.ones((2, 3), np.float32))


def complaint(path: str | os.PathLike[str], error: type[GeocError] = GeocError) -> str:
    """The one line that is said about a file, which names the file."""
    with pytest.raises(error) as caught:
        verify(load_onnx(path))
    text = str(caught.value)
    assert "\n" not in text and text.startswith(f"{os.fspath(path)}:"), text
    assert len(text) < 1000
    return text


def about(tmp_path: Path, proto: onnx.ModelProto) -> str:
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return complaint(path, InvalidModel)


# Files


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "no.onnx", tmp_path / "no" / "such.onnx"):
        with pytest.raises(FileNotFoundError, match="no"):
            load_onnx(path)
    with pytest.raises(IsADirectoryError):
        load_onnx(tmp_path)


FILES = {
    "empty": (b"", "empty"),
    "text": (b"This is not a model.\n", ""),
    "zeros": (bytes(1000), ""),
    "a zip file": (b"PK\x03\x04" + bytes(100), ""),
    "json": (b'{"graph": []}', ""),
    "a graph and no model": (graph([node("Relu", "x", "y")], [value("x")], [value("y")]).SerializeToString(), ""),
    "a model without a graph": (onnx.ModelProto(ir_version=8).SerializeToString(), "no graph"),
    "one byte": (b"\x08", ""),
}


@pytest.mark.parametrize("data, expected", FILES.values(), ids=FILES)
def test_files_that_are_no_models(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert expected in complaint(path)


def test_cut_off_at_every_length(tmp_path: Path) -> None:
    """A cut between two top-level fields leaves a whole message; everywhere else it is found."""
    body = graph(
        [node("Add", "x w", "t"), node("Relu", "t", "y")], [value("x")], [value("y")], [ONES]
    )
    proto = model(body)
    data = proto.SerializeToString()
    rest = onnx.ModelProto()
    rest.CopyFrom(proto)
    rest.ClearField("opset_import")
    whole = {len(rest.SerializeToString())}
    path = tmp_path / "m.onnx"
    for length in range(1, len(data)):
        path.write_bytes(data[:length])
        if length not in whole:
            complaint(path)


# Graphs

TWO = [value("x"), value("p", (), BOOL)]


def build(*body: onnx.NodeProto, inputs: Any = (), outputs: Any = (), weights: Any = (), **more: Any) -> onnx.ModelProto:
    return model(graph(body, inputs or [value("x")], outputs or [value("y")], weights), **more)


def with_attribute(op: onnx.NodeProto, **fields: Any) -> onnx.NodeProto:
    op.attribute.add(**fields)
    return op


def of_unknown_type(op: onnx.NodeProto) -> onnx.NodeProto:
    op.attribute.add(name="a").MergeFromString(b"\xa0\x01\x4d")  # field 20, the type, is 77
    return op


def branches(*body: onnx.NodeProto, result: str) -> onnx.NodeProto:
    inner = graph(body, [], [value(result)], name="inside")
    other = graph([node("Neg", "x", "n")], [], [value("n")])
    return node("If", "p", "y", name="choice", then_branch=inner, else_branch=other)


TAKES_X = graph([node("Abs", "x", "r")], [], [value("r")])
LOOPED = graph(
    [node("Abs", "v", "w")], [value("i", (), INT64), value("c", (), BOOL), value("v")], [value("c", (), BOOL), value("w")]
)
BROKEN: dict[str, tuple[onnx.ModelProto, str, str]] = {
    "a cycle": (
        build(node("Relu", "x", "s"), node("Add", "s b", "a", name="first"), node("Neg", "a", "b"), node("Abs", "a", "y")),
        "cycle", "",
    ),
    "a node that uses itself": (build(node("Add", "x y", "y", name="self")), "cycle", "'self'"),
    "an undefined operand": (build(node("Add", "x nothing", "y", name="sum")), "'nothing' is not defined", "'sum' (Add)"),
    "an undefined operand in a branch": (
        build(branches(node("Add", "x nothing", "r", name="inner"), result="r"), inputs=TWO),
        "'nothing' is not defined", "'inner' (Add)",
    ),
    "a branch that uses what comes later": (
        build(branches(node("Add", "x late", "r"), result="r"), node("Neg", "y", "late"), inputs=TWO), "cycle", "",
    ),
    "a value of a branch used outside": (
        build(branches(node("Abs", "x", "r"), result="r"), node("Neg", "r", "z"), inputs=TWO), "'r' is not defined", "",
    ),
    "an undefined graph output": (build(node("Relu", "x", "z")), "graph output 'y' is not defined", ""),
    "an undefined branch output": (
        build(branches(node("Abs", "x", "r"), result="q"), inputs=TWO), "graph output 'q' is not defined", "'choice' (If)",
    ),
    "a value defined twice": (
        build(node("Relu", "x", "y"), node("Neg", "x", "y", name="again")), "'y' is defined twice", "'again' (Neg)",
    ),
    "a value with an input's name": (build(node("Relu", "x", "x"), outputs=[value("x")]), "'x' is defined twice", "(Relu)"),
    "a value with a weight's name": (
        build(node("Relu", "x", "w"), node("Neg", "w", "y"), weights=[ONES]), "'w' is defined twice", "(Relu)",
    ),
    "one node with one output twice": (build(node("Split", "x", "y y", axis=1)), "'y' is defined twice", "(Split)"),
    "two weights of one name": (build(node("Add", "x w", "y"), weights=[ONES, ONES]), "'w' is defined twice", ""),
    "two inputs of one name": (build(node("Relu", "x", "y"), inputs=[value("x"), value("x")]), "'x' is declared twice", ""),
    "two outputs of one name": (build(node("Relu", "x", "y"), outputs=[value("y"), value("y")]), "'y' is listed twice", ""),
    "an input without a name": (build(node("Relu", "x", "y"), inputs=[value("x"), value("")]), "no name", ""),
    "a node without an operator": (build(node("", "x", "y", name="blank")), "no operator", "'blank'"),
    "too few operands": (build(node("Add", "x", "y")), "1 inputs, Add takes 2", "'y' (Add)"),
    "too many operands": (build(node("Relu", "x x", "y")), "2 inputs, Relu takes 1", "(Relu)"),
    "an operand left out": (build(node("Add", "- x", "y")), "input A of Add is missing", "(Add)"),
    "too many outputs": (build(node("Relu", "x", "y z")), "2 outputs, Relu has 1", "(Relu)"),
    "no outputs": (build(node("Relu", "x", ""), node("Abs", "x", "y")), "0 outputs, Relu has 1", "(Relu)"),
    "a required attribute": (build(node("Concat", "x x", "y")), "'axis' of Concat", "(Concat)"),
    "a required body": (build(node("If", "p", "y"), inputs=TWO), "branch' of If", "(If)"),
    "a body where none belongs": (
        build(node("Relu", "x", "y", body=graph([node("Abs", "x", "r")], [], [value("r")]))), "no graph attribute 'body'",
        "(Relu)",
    ),
    "a graph attribute without a graph": (
        build(with_attribute(node("If", "p", "y"), name="then_branch", type=AttributeProto.GRAPH), inputs=TWO), "then_branch", "(If)",
    ),
    "a branch that gives too little": (
        build(node("If", "p", "y z", then_branch=TAKES_X, else_branch=TAKES_X), inputs=TWO), "1 outputs, must have 2", "(If)",
    ),
    "a body that takes too much": (
        build(node("Loop", "n -", "y", body=LOOPED), inputs=[*TWO, value("n", (), INT64)]), "3 inputs, must have 2", "(Loop)",
    ),
    "a scan over more than there is": (
        build(node("Scan", "x", "y", body=LOOPED, num_scan_inputs=2**62)), "num_scan_inputs is 46", "(Scan)",
    ),
    "an attribute of another kind": (build(node("Concat", "x x", "y", axis="one")), "'axis' is string, must be int", "(Concat)"),
    "an attribute of no kind": (
        build(of_unknown_type(node("Relu", "x", "y"))), "unknown type 77", "(Relu)",
    ),
    "an unknown attribute": (build(node("Relu", "x", "y", strength=3)), "strength", ""),
    "an axis outside the rank": (build(node("Softmax", "x", "y", axis=5)), "axis 5", "(Softmax)"),
    "a reference outside of functions": (
        build(with_attribute(node("Elu", "x", "y"), name="alpha", ref_attr_name="a", type=AttributeProto.FLOAT)),
        "reference 'a'", "(Elu)",
    ),
    "a constant of nothing": (build(node("Constant", "", "c"), node("Add", "x c", "y")), "exactly one value", "'c' (Constant)"),
    "a constant of two things": (
        build(node("Constant", "", "c", value_int=1, value_float=1.0), node("Relu", "x", "y")), "exactly one value", "(Constant)",
    ),
    "operands of two element types": (
        build(node("Add", "x i", "y", name="mixed"), inputs=[value("x"), value("i", (2, 3), INT64)]), "Add", "",
    ),
    "an element type the operator lacks": (
        build(node("Relu", "s", "y"), inputs=[value("s", (2,), TensorProto.STRING)], outputs=[value("y", (2,), TensorProto.STRING)]),
        "Relu", "",
    ),
    "an output declared as another element type": (
        build(node("Relu", "x", "y"), outputs=[value("y", (2, 3), INT64)]), "'y' is declared as i64[2,3]", "",
    ),
    "an inner value declared as another element type": (
        model(graph([node("Relu", "x", "t"), node("Neg", "t", "y")], [value("x")], [value("y")], value_info=[value("t", (2, 3), INT64)])),
        "'t' is declared as i64[2,3], its operator gives f32[2,3]", "(Relu)",
    ),
    "shapes that clash": (
        build(node("Add", "x z", "y", name="sum"), inputs=[value("x"), value("z", (2, 4))]), "[2,3] and [2,4]", "sum",
    ),
    "an element type that does not exist": (build(node("Relu", "x", "y"), inputs=[value("x", (2,), 99)]), "element type 99", ""),
    "an operator that the opset lacks": (build(node("Gelu", "x", "y"), opset=17), "exists from opset 20", "(Gelu)"),
    "an operator that was removed": (build(node("Upsample", "x s", "y"), weights=[weight("s", np.ones(2, np.float32))], opset=13), "Upsample", ""),
    "an opset newer than known": (build(node("Relu", "x", "y"), opset=999), "opset 999 of ai.onnx is newer", ""),
    "an ML opset newer than known": (
        build(node("Relu", "x", "y"), domains={"ai.onnx.ml": 99}), "opset 99 of ai.onnx.ml is newer", "",
    ),
    "an IR version newer than known": (build(node("Relu", "x", "y"), ir=99), "IR version 99 is newer", ""),
}  # fmt: skip


# The others take these: the first gives a caller no way to tell its outputs apart, in the second they see no attribute.
ONLY_HERE = {"two outputs of one name", "a reference outside of functions"}


@pytest.mark.parametrize("proto, expected, place", BROKEN.values(), ids=BROKEN)
def test_models_that_break_a_rule(tmp_path: Path, proto: onnx.ModelProto, expected: str, place: str) -> None:
    text = about(tmp_path, proto)
    assert expected in text and place in text, text


def test_the_judges_agree_that_these_are_no_models(tmp_path: Path) -> None:
    """Each of them is refused by onnx's checker in full mode or by onnxruntime as well."""
    import onnxruntime

    for name, (proto, _, _) in BROKEN.items():
        if name in ONLY_HERE:
            continue
        try:
            onnx.checker.check_model(proto, full_check=True)
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:
            continue
        raise AssertionError(f"{name}: everybody else takes it")


def deep(levels: int, inner: Callable[[onnx.GraphProto], onnx.NodeProto]) -> onnx.ModelProto:
    body = graph([node("Relu", "x", "r0")], [], [value("r0")])
    for level in range(levels):
        made = inner(body)
        made.output[:] = [f"r{level + 1}"]
        body = graph([made], [], [value(f"r{level + 1}")])
    body.input.extend([value("x"), value("p", (), BOOL)])
    return model(body)


def test_branches_nested_without_end(tmp_path: Path) -> None:
    def choice(body: onnx.GraphProto) -> onnx.NodeProto:
        return node("If", "p", "r", then_branch=body, else_branch=graph([node("Relu", "x", "e")], [], [value("e")]))

    proto = deep(20, choice)
    assert len(nodes(load_onnx(proto.SerializeToString()))) == 41
    path = tmp_path / "m.onnx"
    path.write_bytes(nested(1000))
    assert "nest" in complaint(path, FormatError)


def nested(levels: int) -> bytes:
    """A model whose graphs hold each other deeper than onnx can write, as bytes."""
    data = b""
    for _ in range(levels):
        attribute = field(1, b"then_branch") + field(6, data) + b"\xa0\x01\x05"
        data = field(1, field(4, b"If") + field(5, attribute))
    return b"\x08\x08" + field(7, data)


def field(number: int, payload: bytes) -> bytes:
    size, encoded = len(payload), b""
    while True:
        encoded += bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
        size >>= 7
        if not size:
            return bytes([number << 3 | 2]) + encoded + payload


def test_types_nested_without_end(tmp_path: Path) -> None:
    for levels in (20, 45, 1000):
        type_ = b"\x0a\x02\x08\x01"
        for _ in range(levels):
            type_ = field(4, field(1, type_))
        info = field(1, b"x") + field(2, type_)
        body = graph([node("Custom", "x", "y", domain="d")], [], [value("y")]).SerializeToString()
        data = b"\x08\x08" + field(7, body + field(11, info)) + field(8, b"\x10\x11")
        path = tmp_path / "m.onnx"
        path.write_bytes(data)
        if levels == 20:
            assert str(load_onnx(path).graph.inputs[0].type).count("seq(") == 20
        else:
            assert "nest" in complaint(path)


def test_sizes_beyond_all_memory_are_types_and_nothing_more(tmp_path: Path) -> None:
    big = 2**40
    body = graph(
        [
            node("ConstantOfShape", "s", "c"),
            node("Expand", "x s", "e"),
            node("Range", "zero lots one", "r"),
            node("Add", "c e", "y"),
        ],
        [value("x", (1, 1))],
        [value("y", (big, big)), value("r", (None,), INT64)],
        [
            weight("s", np.array([big, big])),
            weight("zero", np.array(0)), weight("one", np.array(1)), weight("lots", np.array(big)),
        ],
    )  # fmt: skip
    path = tmp_path / "m.onnx"
    path.write_bytes(model(body).SerializeToString())
    loaded = load_onnx(path)
    verify(loaded)
    assert {n.op.key for n in nodes(loaded)} >= {"Expand", "Range", "Add"}
    assert len(model_bytes(loaded)) < 1000


def test_a_weight_that_claims_more_than_the_file_has(tmp_path: Path) -> None:
    huge = TensorProto(name="w", data_type=FLOAT, dims=[2**40], raw_data=b"1234")
    text = about(tmp_path, build(node("Add", "x w", "y"), weights=[huge]))
    assert "'w'" in text and "4 bytes" in text


def test_names_with_line_ends_stay_on_one_line(tmp_path: Path) -> None:
    text = about(tmp_path, build(helper.make_node("Add", ["x", "two\nlines"], ["y"], name="a\nb")))
    assert "two\\nlines" in text
