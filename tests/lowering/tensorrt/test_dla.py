"""A model on the DLA of an Orin: what goes there, what is said of the rest, and how the builder is told."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.ir.errors import UnsupportedModel, UsageError
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.lowering.backend import Order
from geoc.lowering.targets import get_target
from geoc.lowering.tensorrt import engine
from geoc.lowering.tensorrt.emit import configuration
from geoc.tools.cli import main

ARCHIVE = Path(__file__).parents[2] / "models" / "exports.zip"
MODELS = Path(os.environ.get("GEOC_MODELS", Path.home() / ".cache/geoc-models"))
ON_DLA = "orin,dla=1"


@pytest.fixture
def cnn(tmp_path: Path) -> Path:
    """Convolution, pooling, a residual, a mean over the picture, a product: what a small classifier is made of."""
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((random.standard_normal(shape) * 0.1).astype(np.float32), name)

    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1"], ["c1"], name="/stem/Conv", pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"], name="/stem/Relu"),
        node("MaxPool", ["r1"], ["p1"], name="/stem/MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p1", "w2"], ["c2"], name="/block/Conv", pads=[1, 1, 1, 1]),
        node("Add", ["c2", "p1"], ["a2"], name="/block/Add"),
        node("Relu", ["a2"], ["r2"], name="/block/Relu"),
        node("GlobalAveragePool", ["r2"], ["g"], name="/head/GlobalAveragePool"),
        node("Flatten", ["g"], ["f"], name="/head/Flatten"),
        node("Gemm", ["f", "w3", "b3"], ["y"], name="/head/Gemm"),
    ]
    value = helper.make_tensor_value_info
    ends = [value("x", TensorProto.FLOAT, [1, 3, 16, 16])], [value("y", TensorProto.FLOAT, [1, 10])]
    weights = [weight("w1", 8, 3, 3, 3), weight("w2", 8, 8, 3, 3), weight("w3", 8, 10), weight("b3", 10)]
    graph = helper.make_graph(nodes, "main", *ends, weights)
    path = tmp_path / "cnn.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_small_classifier(cnn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(cnn), f"--target={ON_DLA}", "--precision=fp16", "-o", str(tmp_path / "o.onnx")]
    assert main([*words, "--remarks", str(tmp_path / "r.jsonl"), "--report", str(tmp_path / "report.json")]) == 0
    out = capsys.readouterr().out
    assert "device    8 of 11 nodes on DLA core 0 in 2 parts of 16 that it holds; 3 on the GPU" in out
    assert "refused   dla_cast (2 times): casts run on the GPU" in out
    assert "refused   dla_layer: it has no layer for GlobalAveragePool" in out
    device = json.loads((tmp_path / "report.json").read_text())["device"]
    assert device["nodes"] == 8 and device["outside"] == {"dla_cast": 2, "dla_layer": 1}
    remarks = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    told = {(r["rule"], *r["loc"]) for r in remarks if r["pass"] == "placement" and r["kind"] == "refused"}
    assert ("dla_layer", "/head/GlobalAveragePool") in told and len(told) == 3
    found = json.loads((tmp_path / "o.onnx.build.json").read_text())
    assert (found["default_device_type"], found["DLA_core"]) == ("DLA", 0)
    assert "GPU_FALLBACK" in found["builder_flags"]
    assert " --useDLACore=0 --allowGPUFallback" in found["trtexec"]


def test_the_gpu_alone_is_the_default(cnn: Path, tmp_path: Path) -> None:
    report = geoc.compile(cnn, tmp_path / "o.onnx", target="orin", precision="fp16")
    found = json.loads((tmp_path / "o.onnx.build.json").read_text())
    assert report.device is None and "DLA" not in found["trtexec"] and "GPU_FALLBACK" not in found["builder_flags"]
    assert (found["default_device_type"], found["DLA_core"]) == ("GPU", None)


def test_without_a_fallback_all_of_it_must_run_there(cnn: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"target": ON_DLA, "precision": "fp16", "io_precision": "fp16", "fallback": "none"}
    with pytest.raises(UnsupportedModel) as caught:
        geoc.compile(cnn, tmp_path / "o.onnx", **options)
    assert "DLA core 0 of orin cannot run 1 of 9 nodes: GlobalAveragePool at /head/GlobalAveragePool: " in str(caught.value)
    assert "(dla.rules: dla_layer); without --fallback=none the GPU runs them" in str(caught.value)
    assert not (tmp_path / "o.onnx").exists()
    model = onnx.load(cnn)
    model.graph.node[6].CopyFrom(
        helper.make_node("AveragePool", ["r2"], ["g"], name="/head/AveragePool", kernel_shape=[8, 8])
    )
    onnx.save(model, cnn)
    report = geoc.compile(cnn, tmp_path / "o.onnx", **options)
    assert (report.device.nodes, report.device.total, report.device.parts) == (9, 9, 1)
    assert report.device.line() == "9 of 9 nodes on DLA core 0 in 1 part of 16 that it holds"
    found = json.loads((tmp_path / "o.onnx.build.json").read_text())
    assert "GPU_FALLBACK" not in found["builder_flags"] and found["trtexec"].endswith("--useDLACore=0")


def test_single_precision_is_said_to_be_no_choice(cnn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for precision in ("fp32", "tf32", "bf16"):
        assert main([str(cnn), f"--target={ON_DLA}", f"--precision={precision}", "-q"]) == 2
        said = capsys.readouterr().err
        assert said == (
            f"geoc: error: --precision: a DLA computes in fp16 and int8, not in {precision}; orin without dla=1 does\n"
        )
    assert not list(cnn.parent.glob("*.geoc.*"))


def test_nothing_of_a_model_in_single_precision_runs_there_and_that_is_said(cnn: Path, tmp_path: Path) -> None:
    report = geoc.compile(cnn, tmp_path / "o.onnx", target=ON_DLA)
    assert (report.device.nodes, report.device.outside) == (0, {"dla_precision": 8, "dla_layer": 1})
    (reason,) = [each.why for each in report.refused if each.what == "dla_precision"]
    assert "--precision fp16" in reason


def test_o3_takes_half_precision(cnn: Path, tmp_path: Path) -> None:
    report = geoc.compile(cnn, tmp_path / "o.onnx", target=ON_DLA, level=3)
    assert report.precision == "fp16" and report.device.nodes == 8


def test_a_transformer(tmp_path: Path) -> None:
    """Products of two things that are computed, LayerNormalization, GELU: the DLA gets pieces."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        (tmp_path / "vit.onnx").write_bytes(archive.read("vit-ts.onnx"))
    sizes = [f"{name}=1" for v in geoc.load(tmp_path / "vit.onnx").graph.inputs for name in map(str, v.shape) if name.isalpha()]
    report = geoc.compile(
        tmp_path / "vit.onnx", tmp_path / "o.onnx", target=ON_DLA, precision="fp16", shape=sizes, check="off"
    )
    assert 0 < report.device.nodes < report.device.total / 2 + 20
    assert sum(report.device.outside.values()) == report.device.total - report.device.nodes
    assert report.device.outside["dla_product"] == 4  # of two layers
    said = {each.why for each in report.refused}
    assert "it has no layer for LayerNormalization" in said and "products of two things that are computed" in said


@pytest.mark.parametrize(("name", "inside", "total"), [("resnet18-ts", 48, 51), ("resnet18-dynamo", 48, 51)])
def test_resnet18(name: str, inside: int, total: int, tmp_path: Path) -> None:
    path = MODELS / f"{name}.onnx"
    if not path.exists():
        pytest.skip("the model is not here")
    report = geoc.compile(path, tmp_path / "o.onnx", target=ON_DLA, precision="fp16", shape=["batch=1"])
    assert report.ok and report.precision == "fp16"
    assert (report.device.nodes, report.device.total, report.device.parts) == (inside, total, 2)
    assert report.device.outside == {"dla_cast": 2, "dla_layer": 1}  # inputs and outputs, and the mean over the picture
    dynamic = geoc.compile(path, tmp_path / "p.onnx", target=ON_DLA, precision="fp16", check="off")
    assert dynamic.device.nodes == 0 and dynamic.device.outside["dla_dynamic"] > 40


def placed(body: str, head: str = "graph @main(%x: f16[1,4,8,8]) -> (%y)", **options: Any) -> Any:
    model = parse_model(f'geoc 1\nopset "" 21\n\n{head} {{\n{body}\n}}\n')
    infer_graph(model.graph)
    target = get_target(ON_DLA)
    elsewhere = {node for node in model.graph if node.op.key in options.get("elsewhere", ())}
    return target.backend.placement(model, target, elsewhere)


def test_parts_are_pieces_that_need_not_wait_for_each_other() -> None:
    diamond = "  %a = Relu(%x)\n  %b = Erf(%a)\n  %c = Abs(%a)\n  %y = Add(%b, %c)"
    found = placed(diamond)
    assert (found.nodes, found.total, found.parts) == (3, 4, 2)
    apart = "  %a = Relu(%x)\n  %b = Abs(%x)\n  %c = Erf(%a)\n  %y = Erf(%b)"
    assert placed(apart, "graph @main(%x: f16[1,4,8,8]) -> (%y, %c)").parts == 2
    assert placed("  %y = Erf(%x)").parts == 0


def test_what_another_runtime_runs_is_not_counted() -> None:
    found = placed("  %a = Relu(%x)\n  %b = Erf(%a)\n  %y = Relu(%b)", elsewhere=("Erf",))
    assert (found.nodes, found.total, found.parts, found.outside) == (2, 2, 2, ())


def test_more_parts_than_a_core_holds_are_said(tmp_path: Path) -> None:
    lines = [f"  %e{i} = Erf(%v{i})\n  %v{i + 1} = Relu(%e{i})" for i in range(17)]
    text = "\n".join(["geoc 1", 'opset "" 21', "", "graph @main(%x: f16[1,4,8,8]) -> (%y) {", "  %v0 = Relu(%x)", *lines])
    (tmp_path / "m.gir").write_text(text + "\n  %y = Erf(%v17)\n}\n")
    report = geoc.compile(tmp_path / "m.gir", tmp_path / "o.onnx", target=ON_DLA, check="off")
    assert "DLA core 0 holds 16 parts at once and there are 18: the GPU gets the rest" in report.notes


def test_what_tensorrt_does_not_take_goes_to_the_fallback_first(tmp_path: Path) -> None:
    text = """geoc 1
opset "" 17

graph @main(%x: f16[1,4,8,8]) -> (%y) {
  %a = Relu(%x)
  %b = Cast(%a) {to = 1}
  %d = Det(%b)  !"/head/Det"
  %y = Cast(%d) {to = 10}
}
"""
    (tmp_path / "m.gir").write_text(text)
    report = geoc.compile(tmp_path / "m.gir", tmp_path / "o.onnx", target=ON_DLA, check="off")
    assert (report.device.nodes, report.device.total) == (1, 3)
    built = [json.loads(path.read_text()) for path in (tmp_path / "o.parts").glob("*.build.json")]
    assert built and all(each["DLA_core"] == 0 for each in built)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("orin,dla=2", "dla=2: an engine runs on one core"),
        ("orin,dla=0.5", "dla=0.5: an engine runs on one core"),
        ("a100,dla=1", "target a100 has no number 'dla' to change"),
    ],
)
def test_cores_that_cannot_be_ordered(target: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        print(get_target(target).hardware)


def test_forms_that_are_not_for_it(cnn: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="geoc writes no configuration for a DLA"):
        geoc.compile(cnn, tmp_path / "m", target=ON_DLA, precision="fp16", emit="triton")
    own = tmp_path / "mine.toml"
    own.write_text('inherits = "orin"\n[hardware]\ncompute_capability = "8.6"\ndla = 1\n')
    with pytest.raises(UsageError, match="TensorRT-RTX runs on no DLA"):
        geoc.compile(cnn, tmp_path / "o.rtx.engine", target=str(own), precision="fp16", emit="rtx-engine")


class _Config(SimpleNamespace):
    """Notes what a builder's configuration is told."""

    def __init__(self) -> None:
        super().__init__(flags=set(), default_device_type=None, DLA_core=-1)

    def set_flag(self, flag: str) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: str) -> None:
        self.flags.discard(flag)

    def create_timing_cache(self, known: bytes) -> Any:
        return SimpleNamespace(serialize=lambda: b"cache")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> None:
        pass


@pytest.mark.parametrize("cores", [2, 0])
def test_the_builder_is_told(cores: int, cnn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a TensorRT that only listens: no machine of these tests has a DLA."""
    config = _Config()
    builder = SimpleNamespace(
        num_DLA_cores=cores,
        create_network=lambda flags: None,
        create_builder_config=lambda: config,
        build_serialized_network=lambda network, config: b"plan",
    )
    package = SimpleNamespace(
        Logger=type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None}),
        Builder=lambda log: builder,
        NetworkDefinitionCreationFlag=SimpleNamespace(),
        OnnxParser=lambda network, log: SimpleNamespace(parse_from_file=lambda path: True),
        BuilderFlag=SimpleNamespace(TF32="TF32", GPU_FALLBACK="GPU_FALLBACK"),
        DeviceType=SimpleNamespace(DLA="DLA", GPU="GPU"),
    )
    monkeypatch.setattr(engine, "_package", lambda: package)
    options: dict[str, Any] = {"target": ON_DLA, "precision": "fp16", "check": "off"}
    if not cores:
        with pytest.raises(UsageError, match="there is no DLA here"):
            geoc.compile(cnn, tmp_path / "o.engine", **options)
        return
    geoc.compile(cnn, tmp_path / "o.engine", **options)
    assert (config.default_device_type, config.DLA_core, config.flags) == ("DLA", 0, {"TF32", "GPU_FALLBACK"})


def test_a_strict_order_has_no_fallback() -> None:
    target = get_target(ON_DLA)
    assert configuration("m.onnx", Order(target))["builder_flags"] == ["TF32", "GPU_FALLBACK"]
    assert configuration("m.onnx", Order(target, strict=True))["builder_flags"] == ["TF32"]


def test_what_is_known_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    hardware = get_target("orin").hardware
    assert (hardware.dla, hardware.dla_cores) == (0, 2) and hardware.dla_rates["int8"] * 4 == pytest.approx(105e12)
    assert main(["targets", "orin", ON_DLA]) == 0
    out = capsys.readouterr().out
    assert "DLA       2 cores, each int8 26.2 TOP/s; dla=1 uses one" in out and "26.2 TOP/s; one is used" in out
