"""--precision for OpenVINO: which kernels its CPU plugin chooses for what is written, and what it is compared by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geoc
from geoc.ir.core import Model
from geoc.lowering.onnx import save_onnx
from geoc.tools.cli import main
from geoc.tools.comparing.check import Judge
from geoc.tools.inputs.shapes import Shapes
from geoc.tools.running.runtimes import Own

openvino = pytest.importorskip("openvino")

WIDTH = 64
TEXT = f"""geoc 1
opset "" 23

graph @main(%ids: i64[B,S], %mask: i64[B,S]) -> (%y) {{
  weight %table: f32[100,{WIDTH}] = @
  weight %g: f32[{WIDTH}] = splat(1.0)
  weight %b: f32[{WIDTH}] = splat(0.5)
  weight %heads: i64[4] = [0, 0, 4, 16]
  weight %rows: i64[3] = [0, 0, {WIDTH}]
  weight %axes: i64[2] = [1, 2]
  weight %zero: f32[] = 0.0
  weight %hidden: f32[] = -1e9
  weight %quarter: f32[] = 0.25
  weight %wq: f32[{WIDTH},{WIDTH}] = @
  weight %wk: f32[{WIDTH},{WIDTH}] = @
  weight %wv: f32[{WIDTH},{WIDTH}] = @
  weight %up: f32[{WIDTH},{2 * WIDTH}] = @
  weight %down: f32[{2 * WIDTH},{WIDTH}] = @
  %x = Gather(%table, %ids)
  %n = LayerNormalization(%x, %g, %b)
  %q0 = MatMul(%n, %wq)
  %k0 = MatMul(%n, %wk)
  %v0 = MatMul(%n, %wv)
  %q1 = Reshape(%q0, %heads)
  %k1 = Reshape(%k0, %heads)
  %v1 = Reshape(%v0, %heads)
  %q = Transpose(%q1) {{perm=[0, 2, 1, 3]}}
  %k = Transpose(%k1) {{perm=[0, 2, 3, 1]}}
  %v = Transpose(%v1) {{perm=[0, 2, 1, 3]}}
  %m0 = Cast(%mask) {{to=9}}
  %m = Unsqueeze(%m0, %axes)
  %far = Where(%m, %zero, %hidden)
  %s0 = MatMul(%q, %k)
  %s1 = Mul(%s0, %quarter)
  %s2 = Add(%s1, %far)
  %p = Softmax(%s2) {{axis=-1}}
  %a0 = MatMul(%p, %v)
  %a1 = Transpose(%a0) {{perm=[0, 2, 1, 3]}}
  %a = Reshape(%a1, %rows)
  %r = Add(%a, %x)
  %h = LayerNormalization(%r, %g, %b)
  %u = MatMul(%h, %up)
  %e = Gelu(%u)
  %d = MatMul(%e, %down)
  %y = Add(%d, %r)
}}
"""
PRODUCTS = 5


@pytest.fixture
def model(tmp_path: Path) -> str:
    """One layer of a transformer; fused, its mask has the shape [B,1,1,S] that onnxruntime's Attention does not run."""
    rng = np.random.default_rng(0)
    first, *others = TEXT.split("@\n")
    text = first
    for part in others:
        shape = [int(n) for n in text.rsplit("f32[", 1)[1].split("]")[0].split(",")]
        numbers = rng.normal(size=shape).reshape(-1) / np.sqrt(shape[0] if shape[0] != 100 else 1)
        text += f"[{', '.join(f'{x:.4f}' for x in numbers)}]\n{part}"
    path = tmp_path / "model.gir"
    path.write_text(text)
    return str(path)


def feeds(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    mask = np.ones((2, 12), np.int64)
    mask[1, 8:] = 0
    return {"ids": rng.integers(0, 100, (2, 12)), "mask": mask}


@pytest.fixture
def samples(tmp_path: Path) -> str:
    path = tmp_path / "samples.npz"
    np.savez(path, **{f"{name}/{i}": value for i in range(10) for name, value in feeds(i).items()})
    return str(path)


def program(path: Path, **options: Any) -> Any:
    return openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32", **options})


def products(path: Path) -> list[tuple[str, str]]:
    """Of each product with constant weights: the kernel, and the element type of its weights."""
    return kernels(path, "FullyConnected", 1)


def kernels(path: Path, layer: str, operand: int) -> list[tuple[str, str]]:
    """Of each layer of a kind: the kernel, and the element type of an operand."""
    found = []
    for op in program(path).get_runtime_model().get_ordered_ops():
        info = {key: op.get_rt_info()[key].astype(str) for key in ("layerType", "primitiveType")}
        if info["layerType"] == layer:
            found.append((info["primitiveType"], op.inputs()[operand].get_element_type().get_type_name()))
    return found


def error(made: Path, model: str) -> float:
    """The mean relative L2 error of a file in OpenVINO, on inputs that no sample holds."""
    source = made.with_name("source.xml")
    geoc.compile(model, source, target="openvino-cpu", level=0, check="off")
    a, b = program(made), program(source)
    found = []
    for seed in range(20, 24):
        ours, theirs = a(feeds(seed))[0], b(feeds(seed))[0]
        found.append(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    return float(np.mean(found))


def test_a_mask_that_onnxruntime_does_not_run_is_no_reason_to_repair(model: str, tmp_path: Path) -> None:
    report = geoc.compile(model, tmp_path / "o.xml", target="openvino-cpu")
    assert report.accuracy.status == "CHECKED" and not report.repairs
    assert report.after.fused["attention"] == 1


@pytest.mark.skipif("avx512_vnni" not in Path("/proc/cpuinfo").read_text(), reason="other processors have other kernels")
def test_int8_from_samples_runs_in_int8(model: str, samples: str, tmp_path: Path) -> None:
    made = tmp_path / "o.xml"
    report = geoc.compile(model, made, target="openvino-cpu", precision="int8", calib=samples)
    found = products(made)
    assert len(found) == PRODUCTS
    assert all(kernel.lower().endswith("_i8") and weights == "i8" for kernel, weights in found)
    assert (report.precision, report.after.low) == ("w8a8", PRODUCTS)
    assert report.accuracy.held_back and "computed by OpenVINO" in report.accuracy.notes
    assert error(made, model) < 0.03
    assert made.with_suffix(".bin").stat().st_size < 0.35 * 4 * WIDTH * (100 + 7 * WIDTH)


def test_a_budget_counts_what_the_plugin_computes(model: str, samples: str, tmp_path: Path) -> None:
    """The error of all layers is 1 to 2 %: with less than that allowed some stay in floats."""
    made = tmp_path / "o.xml"
    report = geoc.compile(model, made, target="openvino-cpu", precision="int8", calib=samples, max_error=0.008)
    assert report.accuracy.error is not None and report.accuracy.error <= 0.008
    kinds = [weights for _, weights in products(made)]
    assert 0 < kinds.count("i8") < PRODUCTS


@pytest.mark.skipif("avx512_vnni" not in Path("/proc/cpuinfo").read_text(), reason="other processors have other kernels")
def test_int8_without_samples_has_scales_that_are_found_at_run_time(
    model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = tmp_path / "o.xml"
    assert main([model, "--target=openvino-cpu", "--precision", "int8", "-o", str(made)]) == 0
    said = capsys.readouterr().out
    assert f"w8a8 in {PRODUCTS} of " in said and "note      without samples, products quantize their rows" in said
    assert "--calib FILE.npz" in said
    assert [weights for _, weights in products(made)] == ["i8"] * PRODUCTS
    # Rows are quantized as they run, which shows in the results.
    exact = program(made, DYNAMIC_QUANTIZATION_GROUP_SIZE=0)
    assert np.abs(exact(feeds(0))[0] - program(made)(feeds(0))[0]).max() > 0
    assert error(made, model) < 0.02


def test_o3_without_samples_stays_in_floats(model: str, tmp_path: Path) -> None:
    """An order alone takes what nothing was measured for."""
    made = tmp_path / "o.xml"
    report = geoc.compile(model, made, target="openvino-cpu", level=3)
    assert report.precision == "" and {weights for _, weights in products(made)} == {"f32"}
    assert any("-O3 is -O2 here: w8a8 would be tried with samples" in note for note in report.notes)


@pytest.mark.parametrize(("precision", "weights", "limit"), [("int4", "i4", 0.15), ("w8a16", "i8", 0.01)])
def test_weights_alone_stay_compressed(model: str, tmp_path: Path, precision: str, weights: str, limit: float) -> None:
    made = tmp_path / "o.xml"
    report = geoc.compile(model, made, target="openvino-cpu", precision=precision)
    assert [kind for _, kind in products(made)].count(weights) >= PRODUCTS - 1  # what gives the results keeps 8 bits
    assert report.after.low == PRODUCTS
    assert [kind for _, kind in kernels(made, "Gather", 0)] == ["i8"]
    assert error(made, model) < limit


PLAIN = 'geoc 1\nopset "" 20\n\ngraph @main(%x: f32[4]) -> (%y) {\n  %y = Relu(%x)\n}\n'


def test_what_is_inexact_on_purpose_is_judged_by_what_its_own_runtime_gives(tmp_path: Path) -> None:
    """By a runtime that gives five quarters of what is right."""
    (tmp_path / "plain.gir").write_text(PLAIN)
    source = geoc.load(str(tmp_path / "plain.gir"))
    save_onnx(source, str(tmp_path / "source.onnx"))

    @contextmanager
    def running(model: Model) -> Iterator[Callable[[dict[str, Any]], list[Any]]]:
        yield lambda feeds: [1.25 * np.maximum(feeds["x"], 0)]

    judge = Judge(str(tmp_path / "source.onnx"), source, save_onnx, Shapes(), runtime=Own("a runtime", running))
    judge.prepare()
    assert judge.compare(source).ok and judge.notes() == []  # exact by its graph, in onnxruntime
    judge.max_error = 0.1
    found = judge.compare(source)
    assert not found.ok and found.error == pytest.approx(0.25) and "computed by a runtime" in judge.notes()
    judge.max_error = 0.3
    assert judge.compare(source).ok
