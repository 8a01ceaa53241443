"""What is written for TensorRT: typed ONNX with its configuration, and engines that TensorRT-RTX builds without a GPU."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.ir.core import Model
from geoc.ir.errors import UnsupportedModel, UsageError
from geoc.ir.text import parse_model
from geoc.lowering.backend import Order
from geoc.lowering.onnx.names import node_names
from geoc.lowering.targets import get_target, list_targets
from geoc.lowering.tensorrt.emit import configuration, is_attention, mistyped
from geoc.lowering.tensorrt.rtx import CAPABILITIES, Kernel, _kernels, build_apart
from geoc.tools.cli import main
from geoc.tools.inputs.maker import InputMaker
from geoc.tools.inputs.shapes import Shapes

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="TensorRT-RTX is not installed: pip install 'geoc[tensorrt-rtx]'",
)
ARCHIVE = Path(__file__).parents[2] / "models" / "exports.zip"
with zipfile.ZipFile(ARCHIVE) as _archive:
    MODELS = [Path(name).stem for name in _archive.namelist()]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return extracted("bert-ts", tmp_path)


def extracted(name: str, folder: Path) -> Path:
    path = folder / f"{name}.onnx"
    with zipfile.ZipFile(ARCHIVE) as archive:
        path.write_bytes(archive.read(path.name))
    return path


def fixed_shapes(model: Model) -> list[str]:
    """--shape for every symbol, with sizes that are made up for comparisons as well."""
    return [f"{name}={size}" for name, size in next(InputMaker(model, Shapes()).sizes()).items()]


@needs_rtx
@pytest.mark.parametrize("name", MODELS)
def test_every_export_builds_for_sm80_in_half_precision(name: str, tmp_path: Path) -> None:
    path = extracted(name, tmp_path)
    report = geoc.compile(
        path,
        tmp_path / "out.rtx.engine",
        target="a100",
        level=3,
        check="off",
        emit="rtx-engine",
        shape=fixed_shapes(geoc.load(path)),
    )
    assert report.precision == "fp16" and report.engine["kernels"]
    assert (tmp_path / "out.rtx.engine").stat().st_size > 1000
    # Two products of attention are in kernels of their own only where it was not fused; nothing else reads single precision.
    singles = [k for k in report.engine["kernels"] if k["kind"] == "gemm" and set(k["inputs"]) == {"Float"}]
    low = report.after.low / report.after.products
    assert low == 1.0 or singles, (low, singles)


@needs_rtx
def test_attention_of_usual_heads_is_one_kernel_in_half_precision(tmp_path: Path) -> None:
    path = tmp_path / "attention.onnx"
    heads = helper.make_node("Attention", ["q", "k", "v"], ["y"])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4, 128, 64]) for n in ("q", "k", "v", "y")]
    graph = helper.make_graph([heads], "main", values[:3], values[3:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11), path)
    fused = {}
    for precision in ("fp16", "fp32"):
        report = geoc.compile(path, tmp_path / "o.rtx.engine", target="a100", precision=precision, emit="rtx-engine")
        assert report.ok
        fused[precision] = report.engine["fused_attention"]
    assert fused == {"fp16": 1, "fp32": 0}


@needs_rtx
def test_the_command_says_what_became_of_it(bert: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(bert), "--target=a100", "-O3", "--emit=rtx-engine,onnx", "--shape", "batch=1:2:4,seq=4:8:16"]
    assert main([*words, "-o", str(bert.parent / "made")]) == 0
    out = capsys.readouterr().out
    assert "precision fp16 in " in out and " kernels, " in out and "TensorRT-RTX runtime" in out
    names = sorted(p.name for p in (bert.parent / "made").iterdir())
    assert names == ["bert-ts.onnx", "bert-ts.onnx.build.json", "bert-ts.rtx.engine"]


@needs_rtx
def test_what_does_not_build_names_the_node(tmp_path: Path) -> None:
    node = helper.make_node("Det", ["x"], ["y"], name="/head/Det")
    graph = helper.make_graph([node], "main", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 3])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])])  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(UnsupportedModel, match="Det '/head/Det'"):  # from the parser, had geoc not known
        build_apart(str(tmp_path / "m.onnx"), str(tmp_path / "o.rtx.engine"), "8.0", {})
    with pytest.raises(UnsupportedModel, match="Det at /head/Det: it has no layer for it"):
        geoc.compile(tmp_path / "m.onnx", tmp_path / "o.rtx.engine", target="a100", emit="rtx-engine", fallback="none")
    assert not (tmp_path / "o.rtx.engine").exists()


@needs_rtx
def test_a_builder_that_dies_is_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geoc.lowering.tensorrt import rtx

    monkeypatch.setattr(rtx, "_CHILD", "import os, sys; sys.stderr.write('Segmentation fault'); os.abort()")
    with pytest.raises(UnsupportedModel, match=r"died building it \(exit -6\): Segmentation fault"):
        build_apart("model.onnx", str(tmp_path / "o.engine"), "8.0", {})


def test_hardware_without_an_ahead_of_time_target(bert: Path, tmp_path: Path) -> None:
    for name in list_targets():
        target = get_target(name)
        if target.runtime != "tensorrt" or target.hardware.compute_capability in CAPABILITIES:
            continue
        with pytest.raises(UsageError, match="TensorRT-RTX builds ahead of time for 7.5, 8.0, 8.6, 8.9, 12.0; "):
            geoc.compile(bert, tmp_path / "o.rtx.engine", target=name, check="off", shape=["batch=1,seq=4"])
    assert get_target("h100").hardware.compute_capability not in CAPABILITIES


def test_a_dynamic_model_needs_shapes(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"an engine needs a shape for input_ids\[batch,seq\] and 2 more inputs .*--shape"):
        geoc.compile(bert, tmp_path / "o.rtx.engine", target="a100", check="off")


def test_an_engine_needs_tensorrt(bert: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed")
    with pytest.raises(UsageError, match=r"pip install 'geoc\[tensorrt\]'"):
        geoc.compile(bert, tmp_path / "o.engine", target="a100", check="off", shape=["batch=1,seq=4"])


def test_the_build_configuration(bert: Path, tmp_path: Path) -> None:
    report = geoc.compile(bert, tmp_path / "o.onnx", target="a100", level=3, shape=["batch=1:2:4", "seq=8"])
    assert report.files == [str(tmp_path / "o.onnx"), str(tmp_path / "o.onnx.build.json")]
    found = json.loads((tmp_path / "o.onnx.build.json").read_text())
    assert found["network_flags"] == {"10": ["STRONGLY_TYPED"], "11": []} and found["compute_capability"] == "8.0"
    (profile,) = found["profiles"]
    assert profile["input_ids"] == {"min": [1, 8], "opt": [2, 8], "max": [4, 8]}
    assert "--stronglyTyped" in found["trtexec"] and "--optShapes=attention_mask:2x8,input_ids:2x8" in found["trtexec"]
    assert not any("profile" in note for note in report.notes)
    open_shapes = geoc.compile(bert, tmp_path / "p.onnx", target="a100", check="off")
    assert any("no optimization profile for input_ids[batch,seq]" in note for note in open_shapes.notes)


def test_the_newest_opset_has_its_ir_version(bert: Path, tmp_path: Path) -> None:
    geoc.compile(bert, tmp_path / "out.onnx", target="a100", opset=24, check="off")
    made = onnx.load(tmp_path / "out.onnx")
    assert made.opset_import[0].version == 24 and made.ir_version == 12
    with pytest.raises(UnsupportedModel, match="opset 25"):
        geoc.compile(bert, tmp_path / "out.onnx", target="a100", opset=25, check="off")


def test_fp32_turns_tf32_off() -> None:
    target = get_target("a100")
    assert configuration("m.onnx", Order(target))["builder_flags"] == ["TF32"]
    exact = configuration("m.onnx", Order(target, precision="fp32"))
    assert exact["builder_flags"] == [] and exact["trtexec"].endswith("--noTF32")


def test_products_in_another_type_than_the_graph_says_are_found() -> None:
    half = numpy_helper.from_array(onnx.numpy_helper.to_array(onnx.helper.make_tensor("w", 10, [2, 2], [1.0] * 4)), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="/fc")
    graph = helper.make_graph([node], "main", [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [2, 2])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [2, 2])], [half])  # fmt: skip
    model = geoc.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    kernel = Kernel("gemm0", "gemm", ("Float",), ("Float",), ("/fc",))
    assert mistyped(model, [kernel]) == ["/fc"]
    assert mistyped(model, [kernel._replace(inputs=("Half",)), kernel._replace(kind="kgen")]) == []


def test_a_product_is_not_taken_for_one_that_is_named_like_it() -> None:
    """Two nodes made of /attention, the second in half, beside /attention_1 of the source, which is not."""
    model = parse_model(
        '''geoc 1
opset "" 17
graph @main(%x: f32[2,2], %h: f16[2,2]) -> (%a: f32[2,2], %b: f16[2,2], %c: f32[2,2]) {
  %a: f32[2,2] = Relu(%x)  !"/attention"
  %b: f16[2,2] = MatMul(%h, %h)  !"/attention"
  %c: f32[2,2] = MatMul(%x, %x)  !"/attention_1"
}
'''
    )
    assert list(node_names(model).values()) == ["/attention", "/attention_2", "/attention_1"]
    single = Kernel("gemm0", "gemm", ("Float",), ("Float",), ("/attention_1",))
    assert mistyped(model, [single]) == []
    assert mistyped(model, [single._replace(nodes=("/attention_2",))]) == ["/attention_2"]


def test_the_list_of_kernels() -> None:
    """Types and nodes of each; streams that wait for each other are no kernels."""
    text = """Layers:
Name: __mye1_myl0_1, LayerType: signal, Inputs: [], Constants: [], Outputs: [], TacticName: ,
Name: /m/fc_myl0_2, LayerType: gemm, Inputs: [ { Name: a, Datatype: FP8 }], Constants: [{ Name: w }], Outputs: [ { Name: b, Datatype: Half }], TacticName: , Metadata: [ONNX Layer: /m/fc]
Name: __mye2_myl0_3, LayerType: wait, Inputs: [], Constants: [], Outputs: [], TacticName: ,"""
    assert _kernels(text) == [Kernel("/m/fc_myl0_2", "gemm", ("FP8",), ("Half",), ("/m/fc",))]


def test_kernels_that_are_a_whole_attention() -> None:
    assert is_attention(Kernel("_gemm_mha_v2_0x1", "kgen", (), (), ()))
    assert not is_attention(Kernel("__myl_MulAdd_0x1", "kgen", (), (), ()))


@needs_rtx
def test_quantized_as_for_x86_builds_with_int8_inside(tmp_path: Path) -> None:
    """u8 around 128, as onnxruntime's quantizer writes it for CPUs: its parser refuses that as it is."""
    weights = {
        "w": np.random.default_rng(0).integers(0, 255, (32, 16)).astype(np.uint8),
        "s": np.float32(0.05), "z": np.uint8(128), "ws": np.float32(0.01), "wz": np.uint8(128),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("MatMul", ["d", "wd"], ["y"], name="/fc"),
    ]
    value = helper.make_tensor_value_info
    ends = [value("x", TensorProto.FLOAT, [8, 32]), value("y", TensorProto.FLOAT, [8, 16])]
    constants = [numpy_helper.from_array(np.asarray(v), name) for name, v in weights.items()]
    graph = helper.make_graph(nodes, "main", ends[:1], ends[1:], constants)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(UnsupportedModel, match="zero point"):
        build_apart(str(path), str(tmp_path / "a.engine"), "8.0", {})
    report = geoc.compile(path, tmp_path / "o.rtx.engine", target="a100")
    assert report.ok and report.accuracy.error == 0
    assert any("Int8" in kernel["inputs"] for kernel in report.engine["kernels"])


SPECTRUM = """graph @main(%x: f32[1,1,16000]) -> (%y) {
  weight %w: f32[64,1,128] = splat(0.5)
  weight %v: f32[64,1,128] = splat(-0.25)
  weight %k: f32[128,64,3] = splat(0.01)
  weight %axes: i64[1] = [2]
  %a = Conv(%x, %w) {kernel_shape=[128], strides=[32]}
  %b = Conv(%x, %v) {kernel_shape=[128], strides=[32]}
  %c = Mul(%a, %a)
  %d = Mul(%b, %b)
  %e = Add(%c, %d)
  %f = Conv(%e, %k) {kernel_shape=[3]}
  weight %q: f32[128,8] = splat(0.5)
  %m = ReduceMax(%f, %axes) {keepdims=0}
  %y = MatMul(%m, %q)
}"""


@needs_rtx
def test_forms_make_fewer_kernels(tmp_path: Path) -> None:
    """Two convolutions of a signal are one kernel, and the largest of each channel is one with the move before it."""

    def kernels(**options: str) -> list[str]:
        model = parse_model(f'geoc 1\nopset "" 21\n\n{SPECTRUM}\n')
        report = geoc.compile(model, tmp_path / "out.rtx.engine", target="a100", emit="rtx-engine", check="off", **options)
        return [kernel["kind"] for kernel in report.engine["kernels"]]

    with_forms, without = kernels(), kernels(skip="trt-forms")
    assert with_forms.count("correlation") == without.count("correlation") - 1
    assert with_forms.count("kgen") == without.count("kgen") - 1
