"""--precision w8a8, w8a16, w4a16: what is asked for, what it needs, and what the summary says of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import geoc
from geoc.tools.cli import main

from ...machine import COARSER

SIZE = 256
TEXT = f"""geoc 1
opset "" 17

graph @main(%x: f32[B,{SIZE}]) -> (%y) {{
  weight %v: f32[{SIZE},{SIZE}] = @V
  weight %w: f32[{SIZE},{SIZE}] = @W
  weight %b: f32[{SIZE}] = splat(0.25)
  %m = MatMul(%x, %v)
  %a = Add(%m, %b)
  %r = Relu(%a)
  %n = MatMul(%r, %w)
  %y = Add(%n, %b)
}}
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    text = TEXT
    for mark in ("@V", "@W"):
        numbers = ", ".join(f"{x:.4f}" for x in rng.normal(size=SIZE * SIZE) / np.sqrt(SIZE))
        text = text.replace(mark, f"[{numbers}]")
    path = tmp_path / "model.gir"
    path.write_text(text)
    return str(path)


@pytest.fixture
def samples(tmp_path: Path) -> str:
    rng = np.random.default_rng(1)
    path = tmp_path / "samples.npz"
    np.savez(path, **{f"x/{i}": rng.normal(size=(8, SIZE)).astype(np.float32) for i in range(10)})
    return str(path)


def ops(path: Path) -> Counter[str]:
    """Operators of a file, by name."""
    return Counter(node.op.name for node in geoc.load(str(path)).graph)


def run(path: str | Path, x: np.ndarray) -> np.ndarray:
    """In a default session, as users run it."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


def error(model: str, tmp_path: Path, made: Path) -> float:
    source = tmp_path / "source.onnx"
    geoc.compile(model, source, level=0, check="off")
    x = np.random.default_rng(2).normal(size=(16, SIZE)).astype(np.float32)
    expected = run(source, x)
    return float(np.linalg.norm(run(made, x) - expected) / np.linalg.norm(expected))


def test_int8_from_samples(model: str, samples: str, tmp_path: Path) -> None:
    made = tmp_path / "o.onnx"
    report = geoc.compile(model, made, target="cpu", precision="int8", calib=samples)
    assert ops(made)["MatMulIntegerToFloat"] == 2
    assert (report.precision, report.after.low, report.after.products) == ("w8a8", 2, 2)
    assert report.accuracy.samples == 2 and report.accuracy.held_back
    assert error(model, tmp_path, made) < 0.02 * COARSER


def test_int8_without_samples_says_what_to_give(model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([model, "--precision", "int8", "-o", str(tmp_path / "o.onnx")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--calib FILE.npz" in said and "--calib random" in said
    assert not (tmp_path / "o.onnx").exists()


def test_int8_from_made_up_inputs_by_name(model: str, tmp_path: Path) -> None:
    made = tmp_path / "o.onnx"
    geoc.compile(model, made, precision="int8", calib="random")
    assert ops(made)["MatMulIntegerToFloat"] == 2


@pytest.mark.parametrize(("precision", "limit"), [("int4", 0.15), ("w4a16", 0.15), ("w8a16", 0.02)])
def test_weights_alone(model: str, tmp_path: Path, precision: str, limit: float) -> None:
    made = tmp_path / "o.onnx"
    report = geoc.compile(model, made, precision=precision)
    assert ops(made)["MatMulNBits"] == 2
    assert report.after.low == 2
    assert made.stat().st_size < (0.21 if "4" in precision else 0.4) * 4 * 2 * SIZE * SIZE
    assert error(model, tmp_path, made) < limit


def test_o3_takes_int8_within_the_budget_and_says_why_not_elsewhere(model: str, samples: str, tmp_path: Path) -> None:
    inside = geoc.compile(model, tmp_path / "a.onnx", level=3, calib=samples, max_error=0.05)
    assert inside.precision == "w8a8" and inside.accuracy.error is not None and inside.accuracy.error <= 0.05
    outside = geoc.compile(model, tmp_path / "b.onnx", level=3, calib=samples, max_error=1e-5)
    assert outside.precision == "" and ops(tmp_path / "b.onnx")["MatMulIntegerToFloat"] == 0
    (refusal,) = [r for r in outside.refused if r.what == "w8a8"]
    assert "over the limit" in refusal.why and refusal.unlock.startswith("--max-error")


def test_a_target_without_integers_says_so(model: str, samples: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([model, "--target=openvino-cpu", "--precision=fp8", "--calib", samples]) == 2
    assert "openvino-cpu does not compute in fp8" in capsys.readouterr().err
    for target, precision, why in (
        ("t4", "int4", "compute capability 7.5 has no INT4 kernels"),
        ("orin,dla=1", "int4", "a DLA reads no weights that alone are integers; w8a8 is for it"),
        ("orin,dla=1", "w8a16", "a DLA reads no weights that alone are integers; w8a8 is for it"),
    ):
        assert main([model, f"--target={target}", f"--precision={precision}"]) == 2
        assert why in capsys.readouterr().err


def test_int8_for_tensorrt_is_q_and_dq_with_half_precision_around(model: str, samples: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    report = geoc.compile(
        model, tmp_path / "o.rtx.engine", target="a100", precision="int8", calib=samples, emit="rtx-engine", shape="B=1:8:8"
    )
    assert report.engine["int8_products"] == 2
    assert report.accuracy.error is not None and report.accuracy.error < 0.02


def test_fp8_for_tensorrt(model: str, samples: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    report = geoc.compile(
        model, tmp_path / "o.rtx.engine", target="l4", precision="fp8", calib=samples, emit="rtx-engine", shape="B=1:8:8"
    )
    assert (report.precision, report.after.low, report.engine["fp8_products"]) == ("fp8", 2, 2)
    assert report.accuracy.error is not None and report.accuracy.error < 0.06
    assert "2 products in FP8" in report.summary()


@pytest.mark.parametrize(("target", "with_samples"), [("t4", False), ("a100", True)])
def test_8_bits_beside_half_precision_for_tensorrt(model: str, samples: str, tmp_path: Path, target: str, with_samples: bool) -> None:
    """The kernel that multiplies reads the codes: there is no other one for each product, and it reads halves."""
    pytest.importorskip("tensorrt_rtx")
    report = geoc.compile(
        model, tmp_path / "o.rtx.engine", target=target, precision="w8a16", calib=samples if with_samples else None,
        emit="rtx-engine", shape="B=1:8:8",
    )  # fmt: skip
    assert (report.precision, report.after.coded, report.after.products) == ("w8a16", 2, 2)
    weights = [n.inputs[0] for n in report.model.graph if n.op.key == "DequantizeLinear"]
    assert [str(w.type) for w in weights if w is not None] == [f"i8[{SIZE},{SIZE}]"] * 2
    kernels = report.engine["kernels"]
    products = [k for k in kernels if k["kind"] in ("gemm", "runtime_fusion")]
    assert len(products) == 2 and all(k["inputs"] == ("Half",) for k in products)  # constants are not listed there
    assert all(k["inputs"] for k in kernels if k["kind"] == "kgen")  # none has nothing but constants to dequantize
    assert report.accuracy.error is not None and 1e-3 < report.accuracy.error < 0.015


def test_a_single_row_reads_no_weights_that_alone_are_integers(model: str, tmp_path: Path) -> None:
    """Codes would be dequantized by a kernel of their own, which takes longer than to read halves."""
    report = geoc.compile(model, tmp_path / "o.onnx", target="a100", precision="w8a16", shape="B=1")
    assert report.after.coded == 0 and not any(n.op.key == "DequantizeLinear" for n in report.model.graph)
    several = geoc.compile(model, tmp_path / "o.onnx", target="a100", precision="w8a16", shape="B=2")
    assert several.after.coded == 2


@pytest.mark.parametrize("with_samples", [False, True])
def test_int4_for_tensorrt(model: str, samples: str, tmp_path: Path, with_samples: bool) -> None:
    """Weights in blocks with scales above 0, which one kernel reads beside half precision."""
    pytest.importorskip("tensorrt_rtx")
    report = geoc.compile(
        model, tmp_path / "o.rtx.engine", target="a100", precision="int4", calib=samples if with_samples else None,
        emit="rtx-engine", shape="B=1:8:8",
    )  # fmt: skip
    blocks = [n for n in report.model.graph if n.op.key == "DequantizeLinear"]
    assert len(blocks) == 1  # the other product makes the result
    assert all((n.inputs[1].const.array() > 0).all() and str(n.inputs[0].dtype) == "i4" for n in blocks)
    assert report.precision == "w4a16" and report.after.low == 2
    assert report.accuracy.error is not None and 1e-3 < report.accuracy.error < 0.15
