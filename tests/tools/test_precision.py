"""--precision, --max-error and -O3: what is tried, taken and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.ir.errors import UsageError
from geoc.lowering.targets import get_target, list_targets
from geoc.tools.cli import main
from geoc.tools.precision import Attempt, attempts, read_error

from .toys import finish

RNG = np.random.default_rng(0)


@pytest.fixture
def perceptron(tmp_path: Path) -> Path:
    """Two products with a Relu between, 256 numbers wide."""
    weights = {f"w{i}": (RNG.standard_normal((256, 256)) / 16).astype(np.float32) for i in range(2)}
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], name="/first"),
        helper.make_node("Relu", ["a"], ["b"], name="/relu"),
        helper.make_node("MatMul", ["b", "w1"], ["y"], name="/second"),
    ]
    model = finish(nodes, [("x", TensorProto.FLOAT, ["N", 256])], [("y", TensorProto.FLOAT, ["N", 256])],
                   [numpy_helper.from_array(w, name) for name, w in weights.items()])  # fmt: skip
    path = tmp_path / "perceptron.onnx"
    onnx.save(model, path)
    return path


def dtypes(path: Path) -> set[int]:
    """Element types of the weights."""
    return {tensor.data_type for tensor in onnx.load(path).graph.initializer if tensor.dims}


def test_o3_on_a_gpu_is_half_precision_within_one_percent(perceptron: Path, tmp_path: Path) -> None:
    report = geoc.compile(perceptron, tmp_path / "out.onnx", target="a100", level=3)
    assert report.ok and report.precision == "fp16" and report.accuracy.norm == "relative L2"
    assert report.accuracy.limit == 0.01 and 0 < report.accuracy.error < 1e-3
    assert (report.after.low, report.after.products, report.after.casts) == (2, 2, 2)
    assert dtypes(tmp_path / "out.onnx") == {TensorProto.FLOAT16}
    x = RNG.standard_normal((5, 256)).astype(np.float32)
    (expected,), (found,) = (
        onnxruntime.InferenceSession(str(p)).run(None, {"x": x}) for p in (perceptron, tmp_path / "out.onnx")
    )
    assert found.dtype == np.float32 and np.linalg.norm(found - expected) < 2e-3 * np.linalg.norm(expected)
    line = str(report)
    assert "precision fp16 in 2 of 2 products, 2 casts" in line and "relative L2" in line


def test_a_budget_that_is_too_small_leaves_single_precision(perceptron: Path, tmp_path: Path) -> None:
    report = geoc.compile(perceptron, tmp_path / "out.onnx", target="a100", level=3, max_error=1e-6)
    assert report.ok and report.precision == "" and dtypes(tmp_path / "out.onnx") == {TensorProto.FLOAT}
    assert [r.what for r in report.refused] == ["fp16", "bf16"]
    assert all(r.unlock.startswith("--max-error ") and "over the limit" in r.why for r in report.refused)


def test_an_order_is_an_order_unless_a_budget_limits_it(perceptron: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    report = geoc.compile(perceptron, out, target="a100", precision="bf16")
    assert report.ok and report.precision == "bf16" and 1e-3 < report.accuracy.error < 2e-2
    assert dtypes(out) == {TensorProto.BFLOAT16}
    out.unlink()
    report = geoc.compile(perceptron, out, target="a100", precision="bf16", max_error=1e-4)
    assert report.ok and report.precision == "" and dtypes(out) == {TensorProto.FLOAT}
    assert report.refused[0].what == "bf16" and any("nothing of --precision bf16" in note for note in report.notes)


def test_ranges_come_from_other_inputs_than_the_comparison(perceptron: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geoc.tools.calibration import calibration
    from geoc.tools.comparing import check

    seeds = []
    for module in (calibration, check):
        maker = module.InputMaker
        monkeypatch.setattr(module, "InputMaker", lambda *a, maker=maker: seeds.append(a[2]) or maker(*a))
    geoc.compile(perceptron, None, target="a100", level=3, seed=5)
    assert len(seeds) == len(set(seeds)) == 2


def test_without_a_comparison_nothing_is_claimed(perceptron: Path) -> None:
    report = geoc.compile(perceptron, None, target="a100", level=3, check="off")
    assert report.precision == "fp16" and report.accuracy.status == "NOT CHECKED"


def test_o3_on_this_cpu_says_that_it_is_o2(perceptron: Path) -> None:
    report = geoc.compile(perceptron, None, level=3)
    assert report.precision == "" and any("-O3 is -O2 here" in note for note in report.notes)


def test_x86_never_computes_in_half_precision() -> None:
    for name in list_targets():
        if name.startswith("cpu") and "arm" not in name:
            assert get_target(name).precisions == {"fp32"}, name
            assert [a.precision for a in attempts(get_target(name), None, 3)] == [""]


def test_no_target_is_brought_to_a_precision_that_it_lacks() -> None:
    for name in list_targets():
        target = get_target(name)
        tried = {a.precision for a in attempts(target, "auto", 2)} - {""}
        assert tried <= target.precisions
        assert not target.hardware.rates or tried <= set(target.hardware.rates)
    assert "bf16" not in get_target("t4").precisions and "fp8" not in get_target("a100").precisions


def test_fp8_from_ada_on() -> None:
    has = {name for name in list_targets() if "fp8" in get_target(name).precisions}
    assert has == {"l4", "l40s", "rtx4090", "h100", "h200", "b200", "rtx5090"}
    for name in has:
        (chosen,) = attempts(get_target(name), "fp8", 2, calib="samples.npz")
        assert [step.name for step in chosen.items][:2] == ["quantize-floats", "autocast"]  # type: ignore[union-attr]
    for name in set(list_targets()) - has:
        with pytest.raises(UsageError, match="does not compute in fp8"):
            attempts(get_target(name), "fp8", 2, calib="samples.npz")


def test_what_a_runtime_does_better_comes_before_what_the_source_says() -> None:
    tried = attempts(get_target("a100"), None, 3)
    first = [step.name for step in tried[0].items]  # type: ignore[union-attr]
    assert first[0] == "trt-unrounded" and [s.name for s in tried[1].items] == first[1:]  # type: ignore[union-attr]
    assert [(a.precision, a.without) for a in tried[:2]] == [("fp16", ()), ("fp16", ("trt-unrounded",))]
    assert tried[-1] == Attempt("", ())
    assert [a.items for a in attempts(get_target("a100"), "fp16", 2)] == [tried[0].items]


@pytest.mark.parametrize(
    ("target", "precision", "message"),
    [
        ("a100", "fp8", "target a100 does not compute in fp8; it has fp32, bf16, fp16, tf32"),
        ("t4", "bf16", "target t4 does not compute in bf16"),
        ("cpu", "fp16", "target cpu does not compute in fp16; it has fp32"),
        ("a100", "fp61", "no precision 'fp61'; did you mean fp16"),
        ("a100", "banana", "no precision 'banana'; there are: auto, fp32"),
        ("tensorrt", "fp8", "target tensorrt does not compute in fp8"),
        ("h100", "fp8", "fp8 needs samples to measure on: --calib FILE.npz"),
        ("h100", "tf33", "no precision 'tf33'; did you mean tf32"),
    ],
)
def test_what_is_refused(target: str, precision: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        attempts(get_target(target), precision, 2)


def test_budgets_are_read() -> None:
    assert (read_error("1%"), read_error("0.01"), read_error("0")) == (0.01, 0.01, 0.0)
    for text in ("x", "-1%", "inf", ""):
        with pytest.raises(UsageError, match="takes an error such as"):
            read_error(text)


def test_the_report_has_it(perceptron: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    assert main([str(perceptron), "-O3", "--target=a100", "--report", str(out), "-o", str(tmp_path / "o.onnx"), "-q"]) == 0
    found = json.loads(out.read_text())
    assert found["precision"] == "fp16" and found["after"]["low"] == 2 and found["accuracy"]["norm"] == "relative L2"
