"""Models that carry quantization: they build for sm80, products read Int8, and the numbers are the source's."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.ir.core import Model
from geoc.ir.errors import UnsupportedModel
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.lowering.targets import get_target
from geoc.lowering.tensorrt.rtx import build_apart

from .quantizing import NETWORKS, Sketch, convolutions, dynamically, random_feeds, run, statically, transformer

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="TensorRT-RTX is not installed: pip install 'geoc[tensorrt-rtx]'",
)
FORMS = ("i8", "u8", "i8 operators", "u8 operators")
STEP = 2e-2  # of the largest number: some steps of 8 bits, where a sum lies halfway between two


def products(kernels: Any) -> list[tuple[str, ...]]:
    """What the kernels read that multiply, from a report or from what the builder lists."""
    rows = [(k["kind"], k["inputs"]) if isinstance(k, dict) else (k.kind, k.inputs) for k in kernels]
    return [tuple(inputs) for kind, inputs in rows if kind in ("correlation", "gemm", "runtime_fusion", "deconv")]


def compiled(path: Path, **options: Any) -> tuple[Any, Path]:
    """The report of an engine, and the ONNX file of the same graph."""
    out = path.parent / "made"
    report = geoc.compile(path, out, target="a100", emit=["rtx-engine", "onnx"], fallback="none", **options)
    assert report.ok and not report.repairs, (report.accuracy, report.repairs)
    return report, out / path.name


@needs_rtx
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_product_reads_int8(network: str, form: str, tmp_path: Path) -> None:
    make, count = NETWORKS[network]
    model = make()
    path = statically(model, tmp_path / "m.onnx", form)
    report, made = compiled(path)
    read = products(report.engine["kernels"])
    assert read and all(inputs[0] == "Int8" for inputs in read), read
    assert report.engine["int8_products"] == len(read) and f", {len(read)} products in INT8" in report.summary()
    graph = geoc.load(made).graph
    multiplied = [n for n in graph if n.op.key in ("Conv", "MatMul", "Gemm")]
    assert len(multiplied) == count
    others = [v for n in multiplied for v in n.inputs[:2] if makes(v) != "DequantizeLinear"]
    # The quantizer counts what an operator on integers makes of a softmax from the lowest number.
    assert len(others) == (network == "transformer" and "operators" in form)
    assert {n.op.domain for n in graph} == {""}
    for feeds in random_feeds(model, 2):
        expected, found = run(path, feeds), run(made, feeds)
        assert np.abs(found - expected).max() <= (0 if "operators" not in form else STEP * np.abs(expected).max())


def makes(value: Any) -> str:
    """The operator behind a value, what only moves elements left out."""
    while value.producer is not None and value.producer.op.key in ("Transpose", "Reshape", "Flatten", "MaxPool"):
        value = value.producer.inputs[0]
    return "" if value.producer is None else str(value.producer.op.key)


@needs_rtx
@pytest.mark.parametrize("option", ["DedicatedQDQPair", "AddQDQPairToWeight"])
def test_other_ways_to_write_it(option: str, tmp_path: Path) -> None:
    """A DequantizeLinear for each reader; weights that the graph quantizes."""
    path = statically(convolutions(), tmp_path / "m.onnx", "i8", **{option: True})
    report, made = compiled(path)
    assert all(inputs[0] == "Int8" for inputs in products(report.engine["kernels"]))
    stored = [w.data_type for w in onnx.load(made).graph.initializer if len(w.dims) == 4]
    assert stored == [TensorProto.INT8] * 6
    pairs = sum(n.op.key == "QuantizeLinear" for n in geoc.load(made).graph)
    plain = geoc.compile(statically(convolutions(), tmp_path / "p.onnx", "i8"), None, target="a100").model
    assert pairs == sum(n.op.key == "QuantizeLinear" for n in plain.graph)


@needs_rtx
@pytest.mark.parametrize("form", ["i8", "u8 operators"])
def test_no_cast_comes_between_integers_and_products_in_half_precision(form: str, tmp_path: Path) -> None:
    path = statically(convolutions(), tmp_path / "m.onnx", form)
    report, made = compiled(path, precision="fp16")
    assert report.after.low == report.after.products == 7 and report.after.casts == 0
    assert all(inputs[0] == "Int8" for inputs in products(report.engine["kernels"]))
    assert report.accuracy.error < STEP
    scales = [n.inputs[1].dtype.name for n in geoc.load(made).graph if n.op.key == "DequantizeLinear"]
    assert scales.count("f32") <= 1  # of the result


@needs_rtx
@pytest.mark.parametrize("network", NETWORKS)
def test_activations_around_another_zero_are_rounded_in_floats(network: str, tmp_path: Path) -> None:
    model = NETWORKS[network][0]()
    path = statically(model, tmp_path / "m.onnx", "default")
    report, made = compiled(path)
    assert any("rounded in floats, not in INT8 kernels" in note for note in report.notes)
    for feeds in random_feeds(model, 2):
        assert np.array_equal(run(made, feeds), run(path, feeds))


@needs_rtx
def test_what_is_quantized_by_its_own_range(tmp_path: Path) -> None:
    """The same numbers by default; activations are not rounded where the precision is lower anyway."""
    model = transformer()
    path = dynamically(model, tmp_path / "m.onnx")
    report, made = compiled(path)
    assert report.rewrites["trt-quantized.matmul_of_range"] == 6
    assert any(note.startswith("4 quantized tensors are rounded in floats") for note in report.notes)  # 3 products read one
    for feeds in random_feeds(model, 2):
        expected = run(path, feeds)
        assert np.abs(run(made, feeds) - expected).max() <= STEP * np.abs(expected).max()
    stored = [w.data_type for w in onnx.load(made).graph.initializer if len(w.dims) == 2]
    assert stored == [TensorProto.INT8] * 6
    lower, _ = compiled(path, precision="fp16")
    assert lower.rewrites["trt-unrounded.not_rounded_by_range"] == 4
    assert not any(node.op.key in ("Round", "ReduceMax") for node in lower.model.graph)
    assert len(lower.engine["kernels"]) < len(report.engine["kernels"])
    assert lower.accuracy.error < 0.03


@needs_rtx
def test_a_quantized_lstm_at_a_lower_precision(tmp_path: Path) -> None:
    """What onnxruntime's quantizer makes of an LSTM; its weights are those of the codes."""
    s = Sketch([5, 1, 48])
    weights = s.floats(2, 160, 48), s.floats(2, 160, 40), s.floats(2, 320)
    y = s.op("LSTM", "x", *weights, direction="bidirectional", hidden_size=40)
    model = s.model(s.op("Relu", y), [5, 2, 1, 40])
    path = dynamically(model, tmp_path / "m.onnx")
    assert [n.op_type for n in onnx.load(path).graph.node] == ["DynamicQuantizeLSTM", "Relu"]
    report, _ = compiled(path, precision="fp16")
    assert report.rewrites["trt-unrounded.lstm_not_rounded"] == 1 and report.accuracy.error < 0.01


@needs_rtx
def test_o3_refuses_the_lossy_form_outside_the_budget(tmp_path: Path) -> None:
    path = dynamically(transformer(), tmp_path / "m.onnx")
    report, _ = compiled(path, level=3, max_error=1e-6)
    assert report.precision == "" and "trt-unrounded.not_rounded_by_range" not in report.rewrites
    tried = [r.what for r in report.refused if r.what in ("fp16", "bf16")]
    assert tried == ["fp16", "fp16", "bf16", "bf16"]
    symmetric, _ = compiled(statically(transformer(), tmp_path / "s.onnx", "i8"), level=3, max_error=1e-6)
    tried = [r.what.split()[0] for r in symmetric.refused if r.what.startswith(("fp16", "bf16"))]
    assert tried == ["fp16", "bf16"]  # nothing is rounded at run time: the second attempt would be the first


def _conv(s: Sketch, x: str) -> str:
    return s.op("Conv", x, s.integers(32, 32, 1, 1))


def _vector_scales(s: Sketch) -> str:
    return _conv(s, s.rounded("x", [0.02]))


def _uniform_channels(s: Sketch) -> str:
    q = s.quantize("x", [0.02] * 32, axis=1)
    return _conv(s, s.dequantize(q, [0.02] * 32, axis=1))


def _relu_between(s: Sketch) -> str:
    return _conv(s, s.op("Relu", s.rounded(s.op("Sin", "x"), 0.02)))


def _resized(s: Sketch) -> str:
    scales = s.constant(np.float32([1, 1, 2, 2]))
    grown = s.op("Resize", s.rounded("x", 0.02), "", scales, mode="nearest", coordinate_transformation_mode="asymmetric")
    return _conv(s, grown)


@needs_rtx
@pytest.mark.parametrize("made_by", [_vector_scales, _uniform_channels, _relu_between, _resized])
def test_what_keeps_a_convolution_from_int8(made_by: Any, tmp_path: Path) -> None:
    """The untouched model builds to a convolution of floats."""
    s = Sketch([1, 32, 8, 8])
    y = made_by(s)
    path = tmp_path / "m.onnx"
    size = 16 if made_by is _resized else 8
    onnx.save(s.model(y, [1, 32, size, size]), path)
    before = build_apart(str(path), str(tmp_path / "a.engine"), "8.0", {})
    assert [inputs[0] for inputs in products(before.kernels)] == ["Float"]
    report, made = compiled(path)
    assert [inputs[0] for inputs in products(report.engine["kernels"])] == ["Int8"]
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 32, 8, 8)).astype(np.float32)}
    assert np.array_equal(run(made, feeds), run(path, feeds))


@needs_rtx
def test_constants_of_integers_are_dequantized_at_once(tmp_path: Path) -> None:
    """Looked up, transposed, or cast: TensorRT reads integers of a constant only to dequantize them."""
    s = Sketch([4, 16])
    table = s.constant(np.random.default_rng(0).integers(0, 256, (32, 16)).astype(np.uint8))
    step, zero = s.constant(np.float32(0.01)), s.constant(np.uint8(129))
    rows = s.op("DequantizeLinear", s.op("Gather", table, s.constant(np.array([3, 1, 0, 7]))), step, zero)
    back = s.op("DequantizeLinear", s.op("Transpose", table), step, zero)
    cast = s.op("Mul", s.op("Cast", s.constant(np.arange(-8, 8).astype(np.int8)), to=1), s.constant(np.float32([0.1])))
    y = s.op("MatMul", s.op("Add", s.op("Add", rows, "x"), cast), back)
    path = tmp_path / "m.onnx"
    onnx.save(s.model(y, [4, 32]), path)
    with pytest.raises(UnsupportedModel):
        build_apart(str(path), str(tmp_path / "a.engine"), "8.0", {})
    report, made = compiled(path)
    assert report.accuracy.error < 1e-5
    assert sum(w.data_type == TensorProto.INT8 and len(w.dims) == 2 for w in onnx.load(made).graph.initializer) == 1
    feeds = {"x": np.random.default_rng(1).standard_normal((4, 16)).astype(np.float32)}
    np.testing.assert_allclose(run(made, feeds), run(path, feeds), rtol=1e-5, atol=1e-5)


@needs_rtx
def test_a_constant_that_two_branches_dequantize(tmp_path: Path) -> None:
    w = numpy_helper.from_array(np.ones((4, 4), np.int8), "w")

    def branch(name: str, step: float) -> Any:
        scale = numpy_helper.from_array(np.float32(step), f"{name}_s")
        nodes = [
            helper.make_node("DequantizeLinear", ["w", f"{name}_s"], [f"{name}_d"], name=f"/{name}/d"),
            helper.make_node("MatMul", ["x", f"{name}_d"], [f"{name}_y"]),
        ]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"{name}_y", 1, [4, 4])], [scale])

    node = helper.make_node("If", ["c"], ["y"], name="/if", then_branch=branch("t", 0.1), else_branch=branch("e", 0.2))
    ends = [helper.make_tensor_value_info("x", 1, [4, 4]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    graph = helper.make_graph([node], "main", ends, [helper.make_tensor_value_info("y", 1, [4, 4])], [w])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    with pytest.raises(UnsupportedModel, match="only allowed before DQ"):
        build_apart(str(path), str(tmp_path / "a.engine"), "8.0", {})
    options = {"target": "a100", "emit": "rtx-engine", "fallback": "none"}
    assert geoc.compile(path, tmp_path / "o.rtx.engine", **options).ok  # hoist-weights takes them out
    with pytest.raises(UnsupportedModel, match="If at /if: DequantizeLinear in it: it dequantizes a constant in one branch"):
        geoc.compile(path, tmp_path / "p.rtx.engine", skip=["hoist-weights"], **options)


def test_what_remains_names_the_node_and_its_zero_point() -> None:
    text = """geoc 1
opset "" 21

graph @main(%x: f32[4]) -> (%q) {
  weight %s: f32[] = 0.5
  weight %z: u8[] = 114
  %q = QuantizeLinear(%x, %s, %z)  !"/head/quantize"
}
"""
    model: Model = parse_model(text)
    infer_graph(model.graph)
    target = get_target("a100")
    (found,) = target.backend.unsupported(model, target)
    assert found.node.loc == ("/head/quantize",)
    assert found.reason == "u8 around 114 is not symmetric: it quantizes to i8 around 0"
