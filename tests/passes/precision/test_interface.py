"""interface and --io-precision: the types that a model is called with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.ir.errors import UsageError
from geoc.ir.text import print_model
from geoc.ir.verify import verify
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.precision.interface import Interface
from geoc.tools.cli import main

from ...tools.toys import finish
from .conftest import model_of

RNG = np.random.default_rng(0)


def interface(body: str, to: str) -> tuple[dict[str, str], str]:
    """Element types of the graph's inputs and outputs after the pass, and its text; the result verifies."""
    model = model_of(body)
    run_pipeline(model, [Interface(to=to)], Context())
    verify(model)
    graph = model.graph
    named = [*zip(graph.input_names, graph.inputs), *zip(graph.output_names, graph.outputs)]
    return {name: str(value.dtype) for name, value in named}, print_model(model)


def test_casts_go_inside() -> None:
    types, found = interface("graph @main(%x: f32[2]) -> (%y: f32[2]) {\n  %y: f32[2] = Relu(%x)\n}", "fp16")
    assert types == {"x": "f16", "y": "f16"}
    assert found.count("Cast(") == 2 and ": f32[2] = Relu(" in found


@pytest.mark.parametrize(("half", "to", "number"), [("f16", "fp16", 10), ("bf16", "bf16", 16)])
def test_casts_from_a_type_to_itself_disappear(half: str, to: str, number: int) -> None:
    body = f"""graph @main(%x: f32[2]) -> (%y: f32[2]) {{
      %a: {half}[2] = Cast(%x) {{to={number}}}
      %b: {half}[2] = Relu(%a)
      %y: f32[2] = Cast(%b) {{to=1}}
    }}"""
    types, found = interface(body, to)
    assert "Cast(" not in found and types == {"x": half, "y": half}


def test_a_value_that_others_read_keeps_its_cast() -> None:
    body = """graph @main(%x: f32[2]) -> (%y: f32[2], %z: f32[2]) {
      %a: f16[2] = Cast(%x) {to=10}
      %b: f16[2] = Relu(%a)
      %y: f32[2] = Cast(%b) {to=1}
      %z: f32[2] = Add(%x, %y)
    }"""
    types, found = interface(body, "fp16")
    assert found.count("{to=1}") == 2 and found.count("{to=10}") == 1  # x and b back to f32 for Add, its sum to f16
    assert types == {"x": "f16", "y": "f16", "z": "f16"}


def test_a_cast_that_rounds_stays() -> None:
    body = "graph @main(%x: f32[2]) -> (%y: f16[2]) {\n  %a: f32[2] = Relu(%x)\n  %y: f16[2] = Cast(%a) {to=10}\n}"
    types, found = interface(body, "fp32")
    assert types == {"x": "f32", "y": "f32"} and "{to=10}" in found and "{to=1}" in found


@pytest.mark.parametrize(
    "body",
    [
        "graph @main(%x: f64[2]) -> (%y: f64[2]) {\n  %y: f64[2] = Relu(%x)\n}",
        "graph @main(%x: i64[2]) -> (%y: i64[2]) {\n  %y: i64[2] = Neg(%x)\n}",
        "graph @main(%x: f16[2]) -> (%y: f16[2]) {\n  %y: f16[2] = Relu(%x)\n}",
    ],
)
def test_what_stays(body: str) -> None:
    model = model_of(body)
    before = print_model(model)
    run_pipeline(model, [Interface(to="fp16")], Context())
    assert print_model(model) == before


def test_inputs_that_are_outputs_or_have_defaults_or_are_captured(tmp_path: Path) -> None:
    text = """geoc 1
opset "" 21

graph @main(%x: f32[2], %c: bool[], %d: f32[1] = [2]) -> (%x: f32[2] as "same", %y: f32[2], %z: f32[2]) {
  %y: f32[2] = If(%c)
    with else_branch = () -> (%n) {
      %n: f32[2] = Neg(%x)
    }
    with then_branch = () -> (%h) {
      %a: f16[2] = Cast(%x) {to=10}
      %h: f32[2] = Cast(%a) {to=1}
    }
  %z: f32[2] = Mul(%x, %d)
}
"""
    (tmp_path / "m.gir").write_text(text)
    report = geoc.compile(tmp_path / "m.gir", tmp_path / "out.onnx", io_precision="fp16", check="each")
    assert report.ok and not report.repairs
    session = onnxruntime.InferenceSession(str(tmp_path / "out.onnx"))
    assert {i.name: i.type for i in session.get_overridable_initializers()} == {"d": "tensor(float)"}
    assert report.after.casts == 4  # x to Neg and Mul, inside the branch, and two outputs
    assert [o.type for o in session.get_outputs()] == ["tensor(float16)"] * 3
    x = np.float16([1.5, -3])
    for flag, wanted in ((True, x), (False, -x)):
        same, y, z = session.run(None, {"x": x, "c": np.array(flag)})
        assert same.tolist() == x.tolist() and y.tolist() == wanted.tolist() and z.tolist() == (2 * x).tolist()


def test_a_branch_that_returns_a_cast_of_an_input_keeps_it() -> None:
    body = """graph @main(%x: f32[2], %c: bool[]) -> (%y: f16[2]) {
      %y: f16[2] = If(%c)
        with else_branch = () -> (%n) {
          %n: f16[2] = Cast(%x) {to=10}
        }
        with then_branch = () -> (%h) {
          %a: f16[2] = Cast(%x) {to=10}
          %h: f16[2] = Neg(%a)
        }
    }"""
    types, found = interface(body, "fp16")
    assert types["x"] == "f16" and found.count("Cast(") == 1 and "Neg(%x)" in found


def test_numbers_as_text_keep_the_type_that_spells_them() -> None:
    body = "graph @main(%x: f32[2]) -> (%y: str[2]) {\n  %y: str[2] = Cast(%x) {to=8}\n}"
    _, found = interface(body, "fp16")
    assert found.count("Cast(") == 2 and "{to=1}" in found


def test_other_types_are_an_error() -> None:
    with pytest.raises(UsageError, match="interface goes to fp32, fp16, bf16, not 'int8'"):
        interface("graph @main(%x: f32[2]) -> (%x: f32[2]) {\n}", "int8")


@pytest.fixture
def perceptron(tmp_path: Path) -> Path:
    weights = [numpy_helper.from_array((RNG.standard_normal((256, 256)) / 16).astype(np.float32), f"w{i}") for i in (0, 1)]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], name="/first"),
        helper.make_node("Relu", ["a"], ["b"], name="/relu"),
        helper.make_node("MatMul", ["b", "w1"], ["y"], name="/second"),
    ]
    model = finish(nodes, [("x", TensorProto.FLOAT, ["N", 256])], [("y", TensorProto.FLOAT, ["N", 256])], weights)
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def types(path: Path) -> tuple[int, int]:
    graph = onnx.load(path).graph
    return graph.input[0].type.tensor_type.elem_type, graph.output[0].type.tensor_type.elem_type


def test_half_precision_inside_and_outside_has_no_cast(perceptron: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    report = geoc.compile(perceptron, out, target="a100", level=3, io_precision="fp16")
    assert report.ok and report.precision == "fp16" and report.after.casts == 0
    assert report.accuracy.norm == "relative L2" and report.accuracy.limit == 0.01 and report.accuracy.error < 1e-3
    assert types(out) == (TensorProto.FLOAT16, TensorProto.FLOAT16)
    x = RNG.standard_normal((5, 256)).astype(np.float16)
    (expected,) = onnxruntime.InferenceSession(str(perceptron)).run(None, {"x": x.astype(np.float32)})
    (found,) = onnxruntime.InferenceSession(str(out)).run(None, {"x": x})
    assert found.dtype == np.float16
    assert np.linalg.norm(found - expected) < 3e-3 * np.linalg.norm(expected)


@pytest.fixture
def small_sum(tmp_path: Path) -> Path:
    """A sum that saves less in half precision than its casts cost, and products that stay apart from it."""
    shapes = {"w0": (256, 2048), "w1": (2048, 256)}
    weights = [numpy_helper.from_array(RNG.standard_normal(s).astype(np.float32) / 32, name) for name, s in shapes.items()]
    nodes = [
        helper.make_node("Add", ["x", "z"], ["y"], name="/sum"),
        helper.make_node("MatMul", ["v", "w0"], ["h"], name="/first"),
        helper.make_node("MatMul", ["h", "w1"], ["t"], name="/second"),
    ]
    ends = [[(name, TensorProto.FLOAT, [256, 256]) for name in names] for names in ("xzv", "yt")]
    model = finish(nodes, *ends, weights)
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_casts_are_weighed_with_what_inputs_and_outputs_will_be(small_sum: Path, tmp_path: Path) -> None:
    """Three casts around a sum are too many for it; where they would be needed around single precision it changes."""
    out = tmp_path / "out.onnx"
    kept = geoc.compile(small_sum, out, target="a100", level=3)
    assert kept.precision == "fp16" and kept.after.casts == 2  # around the products
    assert [n.op_type for n in onnx.load(out).graph.node].count("Cast") == 2
    unaware = geoc.compile(small_sum, None, target="a100", passes="autocast{to=fp16},interface{to=fp16}")
    assert unaware.after.casts == 3
    report = geoc.compile(small_sum, out, target="a100", level=3, io_precision="fp16")
    assert report.ok and report.precision == "fp16" and report.after.casts == 0
    assert "autocast{to=fp16,interface=fp16}" in report.pipeline
    x, z, v = (RNG.standard_normal((256, 256)).astype(np.float16) for _ in range(3))
    single = {"x": x.astype(np.float32), "z": z.astype(np.float32), "v": v.astype(np.float32)}
    expected = onnxruntime.InferenceSession(str(small_sum)).run(None, single)
    for a, b in zip(expected, onnxruntime.InferenceSession(str(out)).run(None, {"x": x, "z": z, "v": v})):
        assert b.dtype == np.float16 and np.linalg.norm(b - a) < 2e-3 * np.linalg.norm(a)


def test_the_other_half_type_is_cast_on_its_way_anyhow(small_sum: Path) -> None:
    report = geoc.compile(small_sum, None, target="a100", precision="fp16", io_precision="bf16", max_error=0.05)
    assert report.ok and "interface=" not in report.pipeline
    assert report.after.casts == 5  # one at each end


@pytest.mark.parametrize(("to", "element"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)])
def test_the_comparison_stays_strict(to: str, element: int, perceptron: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    report = geoc.compile(perceptron, out, io_precision=to)
    assert report.ok and report.accuracy.norm == "largest" and not report.repairs
    assert 0 < report.accuracy.error <= report.accuracy.limit <= 8e-3
    assert types(out) == (element, element) and "--io-precision=" + to in report.again


def test_a_wrong_result_is_still_found(perceptron: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "from geoc.ir.core import constant\nfrom geoc.ir.ops import op\nfrom geoc.ir.tensor import Tensor\n"
        "from geoc.passes.base import Pass\n\n\nclass Wrong(Pass):\n    '''Doubles a weight.'''\n    name = 'wrong'\n\n"
        "    def run(self, model, ctx):\n        node = model.graph.first\n        if not ctx.allow(self.name, '', node):\n"
        "            return False\n        weight = node.inputs[1].const.array() * 1.01\n"
        "        node.set_input(1, constant(Tensor.from_array(weight)))\n        return True\n"
    )
    report = geoc.compile(perceptron, tmp_path / "out.onnx", passes="wrong", plugin=str(plugin), io_precision="fp16")
    assert report.ok and len(report.repairs) == 1 and "wrong" in report.repairs[0].what
    assert types(tmp_path / "out.onnx")[0] == TensorProto.FLOAT16


def test_a_result_that_the_type_does_not_hold_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = numpy_helper.from_array(np.float32([1e6]), "c")
    model = finish([helper.make_node("Add", ["x", "c"], ["y"])], [("x", TensorProto.FLOAT, [4])],
                   [("y", TensorProto.FLOAT, [4])], [large])  # fmt: skip
    onnx.save(model, tmp_path / "m.onnx")
    assert main([str(tmp_path / "m.onnx"), "--io-precision", "fp16"]) == 1
    out = capsys.readouterr().out
    assert "fp16 inputs and outputs" in out and "nothing was written" in out
    assert main([str(tmp_path / "m.onnx"), "--io-precision", "bf16"]) == 0


def test_back_to_single_precision(tmp_path: Path) -> None:
    model = finish([helper.make_node("Relu", ["x"], ["y"])], [("x", TensorProto.FLOAT16, [4])],
                   [("y", TensorProto.FLOAT16, [4])])  # fmt: skip
    onnx.save(model, tmp_path / "m.onnx")
    assert geoc.compile(tmp_path / "m.onnx", tmp_path / "out.onnx", io_precision="fp32").ok
    (y,) = onnxruntime.InferenceSession(str(tmp_path / "out.onnx")).run(None, {"x": np.float32([-1, 0, 1, 2])})
    assert y.dtype == np.float32 and y.tolist() == [0, 0, 1, 2]
