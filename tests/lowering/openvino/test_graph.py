"""What a model keeps on its way: names, order, open sizes, and weights that are not copied; and when it falls back."""

from __future__ import annotations

import gc
import re
import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest

import geoc
from geoc.frontends.onnx import load_onnx
from geoc.ir.core import Model, constant
from geoc.ir.infer import infer_graph
from geoc.ir.tensor import Tensor
from geoc.ir.text import parse_model
from geoc.ir.types import BF16, F16, F32, I4, U4, DType
from geoc.lowering import targets
from geoc.lowering.backend import Order
from geoc.lowering.onnx import model_bytes
from geoc.lowering.openvino.graph import Unmapped, to_openvino
from geoc.lowering.openvino.write import write_ir
from geoc.lowering.targets import get_target

from .running import compiled, run

ORDER = Order(get_target("openvino-cpu"))


def parsed(text: str) -> Model:
    model = parse_model(f'geoc 1\nopset "" 23\n{text}')
    infer_graph(model.graph)
    return model


def on_onnxruntime(model: Model, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model_bytes(model), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def test_names_and_order_stay() -> None:
    made = to_openvino(
        parsed("""graph @main(%b: f32[N,3], %a: f32[N,3]) -> (%z, %y) {
          %y: f32[N,3] = Sub(%a, %b)
          %z: f32[N,3] = Relu(%y)
        }""")
    )
    assert [port.get_names() for port in made.inputs] == [{"b"}, {"a"}]
    assert [port.get_names() for port in made.outputs] == [{"z"}, {"y"}]
    program = compiled(made)
    feeds = {"a": np.full((2, 3), 1, np.float32), "b": np.full((2, 3), 3, np.float32)}
    assert (program(feeds)["y"] == -2).all() and (program(feeds)["z"] == 0).all()


def test_open_sizes_stay_open_and_fixed_ones_fixed() -> None:
    made = to_openvino(parsed("graph @main(%x: f32[N,3,M]) -> (%y) {\n  %y = Exp(%x)\n}"))
    assert str(made.inputs[0].get_partial_shape()) == "[?,3,?]"
    assert str(made.outputs[0].get_partial_shape()) == "[?,3,?]"


def test_a_profile_bounds_open_sizes() -> None:
    model = parsed("graph @main(%x: f32[N,3,M], %z: f32[N]) -> (%y) {\n  %y = Exp(%x)\n}")
    made = to_openvino(model, profile={"x": ((1, 3, 4), (2, 3, 8), (8, 3, 16))})
    assert [str(port.get_partial_shape()) for port in made.inputs] == ["[1..8,3,4..16]", "[?]"]
    assert str(made.outputs[0].get_partial_shape()) == "[1..8,3,4..16]"


def test_one_value_as_two_outputs_and_an_input_as_output() -> None:
    model = parsed("graph @main(%x: f32[2]) -> (%y) {\n  %y = Neg(%x)\n}")
    graph = model.graph
    graph.set_outputs([graph.outputs[0], graph.outputs[0], graph.inputs[0]], ["y", "same", "through"])
    program = compiled(to_openvino(model))
    found = program({"x": np.array([1, 2], np.float32)})
    assert [found[name].tolist() for name in ("y", "same", "through")] == [[-1, -2], [-1, -2], [1, 2]]


def weighted(dtype: DType, size: int) -> Model:
    """x times weights [size, size] of a type, cast to f32."""
    model = parsed(f"graph @main(%x: f32[1,{size}], %w: {dtype}[{size},{size}]) -> (%y) {{\n  %c = Cast(%w) {{to=1}}\n  %y = MatMul(%x, %c)\n}}")
    values = np.random.default_rng(0).integers(-3, 4, (size, size)) % 8
    weights = constant(Tensor.from_array(values.astype(dtype.numpy), dtype), "w")
    model.graph.inputs[1].replace_with(weights)
    model.graph.remove_input(1)
    return model


@pytest.mark.parametrize("dtype", [F32, F16, BF16, U4, I4], ids=str)
def test_constants_share_the_memory_of_our_tensors(dtype: DType) -> None:
    model = weighted(dtype, 64)
    made = to_openvino(model)
    (weights,) = (op for op in made.get_ordered_ops() if op.get_type_name() == "Constant" and list(op.shape) == [64, 64])
    tensor = model.graph.first.inputs[0].const  # type: ignore[union-attr]
    assert tensor is not None
    own = np.frombuffer(tensor.data(), np.uint8)
    assert weights.get_byte_size() == own.size
    assert weights.get_data().ctypes.data == own.ctypes.data
    x = np.random.default_rng(1).standard_normal((1, 64)).astype(np.float32)
    expected = x @ tensor.array().astype(np.float32)
    np.testing.assert_allclose(run(made, {"x": x})[0], expected, rtol=1e-3, atol=1e-3)


def test_constants_live_as_long_as_what_is_made_of_them(tmp_path: Path) -> None:
    geoc.save(weighted(F32, 256), tmp_path / "model.onnx")
    model = load_onnx(tmp_path / "model.onnx")
    tensor = model.graph.first.inputs[0].const  # type: ignore[union-attr]
    assert tensor is not None and tensor.file is not None
    x = np.ones((1, 256), np.float32)
    expected = x @ tensor.array()
    program = compiled(to_openvino(model))
    del model, tensor
    gc.collect()
    np.testing.assert_allclose(run(program, {"x": x})[0], expected, rtol=1e-5)


def test_a_large_model_is_made_without_its_weights_in_memory(tmp_path: Path) -> None:
    size = 6144  # 151 MB
    source = tmp_path / "model.onnx"
    geoc.save(weighted(F32, size), source, weights="inline")
    model = load_onnx(source)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = to_openvino(model)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert made.get_ordered_ops() and grown < size * size


def test_files_hold_the_weights_once_and_as_they_are(tmp_path: Path) -> None:
    model = weighted(F32, 64)
    written = write_ir(model, str(tmp_path / "model.xml"), ORDER)
    assert written.notes == []
    assert sorted(Path(path).name for path in written.files) == ["model.bin", "model.xml"]
    assert 64 * 64 * 4 <= (tmp_path / "model.bin").stat().st_size < 64 * 64 * 4 + 1024
    x = np.ones((1, 64), np.float32)
    read = openvino.Core().read_model(tmp_path / "model.xml")
    assert [port.get_names() for port in (*read.inputs, *read.outputs)] == [{"x"}, {"y"}]
    np.testing.assert_allclose(run(read, {"x": x})[0], on_onnxruntime(model, {"x": x})[0], rtol=1e-5)


def test_what_has_no_mapping_goes_through_the_reader_and_says_so(tmp_path: Path) -> None:
    model = parsed("graph @main(%x: f32[2,3]) -> (%y) {\n  %y: f32[2,3] = ArgMax(%x) {select_last_index=1}\n}".replace("f32[2,3] = Arg", "i64[1,3] = Arg"))
    with pytest.raises(Unmapped, match="it takes the last of several"):
        to_openvino(model)
    written = write_ir(model, str(tmp_path / "model.xml"), ORDER)
    assert written.notes == ["openvino: written through its ONNX reader, because ArgMax %y: it takes the last of several"]
    x = np.array([[1, 2, 3], [1, 0, 3]], np.float32)
    assert run(openvino.Core().read_model(tmp_path / "model.xml"), {"x": x})[0].tolist() == [[1, 0, 1]]


def test_operators_without_a_mapping_are_named_and_counted() -> None:
    model = parsed("graph @main(%x: f32[2,2,4,4]) -> (%y, %z) {\n  %y = Det(%x)\n  %h = LpPool(%x) {kernel_shape=[1, 1]}\n  %z = Det(%h)\n}")
    with pytest.raises(Unmapped) as caught:
        to_openvino(model)
    assert str(caught.value) == "there is no mapping for Det (2), LpPool (1)"


def test_what_openvino_refuses_is_told_with_the_node() -> None:
    model = parsed("graph @main(%x: f32[2,3]) -> (%y) {\n  %y: f32[2,3] = Relu(%x)\n}")
    model.graph.first.attrs = {}  # type: ignore[union-attr]
    model.graph.outputs[0].type = parsed("graph @main(%x: f32[9]) -> (%y) {\n  %y = Neg(%x)\n}").graph.inputs[0].type
    with pytest.raises(Unmapped, match=r"Relu %y: it came out as f32\[2,3\], not f32\[9\]"):
        to_openvino(model)


def test_inputs_that_may_be_left_out_become_constants(tmp_path: Path) -> None:
    model = parsed("graph @main(%x: f32[2], %w: f32[2]) -> (%y) {\n  %y = Mul(%x, %w)\n}")
    model.graph.defaults[model.graph.inputs[1]] = Tensor.of([2, 3], F32)
    written = write_ir(model, str(tmp_path / "model.xml"), ORDER)
    assert written.notes == ["openvino: inputs that may be left out became constants: w"]
    found = run(openvino.Core().read_model(tmp_path / "model.xml"), {"x": np.ones(2, np.float32)})
    assert found[0].tolist() == [2, 3]


def test_the_reader_takes_what_the_limits_say_and_more(tmp_path: Path) -> None:
    opset, ir = ORDER.target.max_opset, ORDER.target.max_ir
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["x2"])], "g", [x], [onnx.helper.make_tensor_value_info("x2", 1, [2])])
    for numbers in ((opset, ir), (opset + 9, ir + 6)):
        proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", numbers[0])], ir_version=numbers[1])
        assert run(openvino.Core().read_model(proto.SerializeToString()), {"x": np.array([-1, 2], np.float32)})[0].tolist() == [0, 2]


def test_one_file_imports_the_package() -> None:
    root = Path(targets.__file__).resolve().parents[2]
    files = [path for folder in ("ir", "passes", "frontends", "lowering", "tools") for path in (root / folder).rglob("*.py")]
    assert [path.name for path in files if re.search(r"^\s*(import|from) openvino\b", path.read_text(), re.M)] == ["package.py"]
