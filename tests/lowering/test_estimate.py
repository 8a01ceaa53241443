"""Estimates by roofline, against the same sums done by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from geoc.ir.errors import UsageError
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.lowering.estimate import Estimate, estimate_model
from geoc.lowering.targets import get_target
from geoc.passes.quantize.kernels import FUSED
from geoc.tools.cli import main

HEADER = 'geoc 1\nir_version 10\nopset "" 21\n\n'
LAUNCH, BANDWIDTH = 2e-6, 2039e9


def estimate(text: str, target: str = "a100") -> Estimate:
    model = parse_model(HEADER + text)
    infer_graph(model.graph)
    return estimate_model(model, get_target(target))


def test_a_product_is_bound_by_arithmetic_or_by_memory() -> None:
    product = "graph @main(%x: f32[{0},4096]) -> (%y) {{\n  weight %w: f32[4096,4096] = splat(1.0)\n  %y = MatMul(%x, %w)\n}}"
    large, small = estimate(product.format(4096)), estimate(product.format(1))
    (node,) = large.nodes
    assert (node.flops, node.bytes, node.bound) == (2 * 4096**3, 3 * 4 * 4096**2, "compute")
    assert large.seconds == pytest.approx(LAUNCH + 2 * 4096**3 / 156e12)  # fp32 products run as tf32
    (node,) = small.nodes
    assert node.bound == "memory"
    assert small.seconds == pytest.approx(LAUNCH + 4 * (4096**2 + 2 * 4096) / BANDWIDTH)


@pytest.mark.parametrize(
    ("dtype", "target", "rate"),
    [
        ("f32", "a100", 156e12), ("f16", "a100", 312e12), ("bf16", "h100", 989.5e12), ("f32", "t4", 8.1e12),
        ("f16", "cpu-avx2", 4 * 3e9 * 32),  # no unit for it: as fp32
    ],
)  # fmt: skip
def test_the_rate_is_that_of_the_element_type(dtype: str, target: str, rate: float) -> None:
    found = estimate(f"graph @main(%x: {dtype}[8192,8192], %w: {dtype}[8192,8192]) -> (%y) {{\n  %y = MatMul(%x, %w)\n}}", target)
    assert found.nodes[0].bound == "compute"
    assert found.seconds == pytest.approx(found.target.hardware.launch + 2 * 8192**3 / rate)


@pytest.mark.parametrize(
    ("x", "w", "target", "rate"),
    [
        ("i8", "i8", "a100", 624e12), ("f8e4m3fn", "f8e4m3fn", "l4", 242.5e12), ("f4e2m1", "f4e2m1", "rtx5090", 1676e12),
        ("f16", "i8", "a100", 156e12), ("i8", "f8e4m3fn", "l4", 60e12),  # weights alone, and a mixture: as its operands are
        ("f8e4m3fn", "f8e4m3fn", "a100", 156e12),
    ],
)  # fmt: skip
def test_the_rate_of_what_was_quantized(x: str, w: str, target: str, rate: float) -> None:
    def back(name: str, dtype: str) -> str:
        return f"Cast(%{name}) {{to=1}}" if dtype == "f16" else f"DequantizeLinear(%{name}, %s)"

    text = f"""graph @main(%x: {x}[8192,8192], %w: {w}[8192,8192]) -> (%y) {{
      weight %s: f32[] = 0.5
      %a: f32[8192,8192] = {back("x", x)}
      %b: f32[8192,8192] = {back("w", w)}
      %t: f32[8192,8192] = Transpose(%b)
      %y: f32[8192,8192] = MatMul(%a, %t)
    }}"""
    found = estimate(text, target)
    (product,) = (n for n in found.nodes if n.node.op.key == "MatMul")
    hardware = found.target.hardware
    assert product.seconds == pytest.approx(hardware.launch + max(2 * 8192**3 / rate, product.bytes / hardware.bandwidth))


QUANTIZED = """graph @main(%x: f16[64,1024]) -> (%y, %z) {
  weight %s: f16[] = 0.5
  weight %v: f16[1024,1024] = splat(1.0)
  weight %w: i8[1024,1024] = splat(1)
  %a = MatMul(%x, %v)
  %q = QuantizeLinear(%a, %s)
  %c = DequantizeLinear(%q, %s)
  %d = DequantizeLinear(%w, %s)
  %y = MatMul(%c, %d)
  %p = QuantizeLinear(%y, %s)
  %e = DequantizeLinear(%p, %s)
  %z = MatMul(%e, %d)
}"""


def test_quantization_is_a_part_of_the_kernels_around_it_where_a_runtime_fuses_it() -> None:
    """Codes are written instead of floats that nothing else reads, and beside those that something does."""
    found = estimate(QUANTIZED)
    rows, weights = 64 * 1024, 1024 * 1024
    assert [(n.node.op.key, n.bytes) for n in found.nodes] == [
        ("MatMul", 2 * rows + 2 * weights + rows),
        ("QuantizeLinear", 0),
        ("MatMul", rows + weights + 2 * rows),
        ("QuantizeLinear", rows),
        ("MatMul", rows + weights + 2 * rows),
    ]
    seconds = [
        (LAUNCH if n.node.op.key == "MatMul" else FUSED * LAUNCH) + max(n.bytes / BANDWIDTH, n.flops / 312e12)
        for n in found.nodes
    ]
    seconds[1] = FUSED * LAUNCH + 3 * rows / 19.5e12
    assert [n.seconds for n in found.nodes] == pytest.approx(seconds)
    apart = estimate(QUANTIZED.replace("f16", "f32"), "cpu-vnni")
    kinds = [n.node.op.key for n in apart.nodes]
    assert kinds.count("QuantizeLinear") == 2 and kinds.count("DequantizeLinear") == 3


def test_factors_in_front_of_quantization_are_a_part_of_it() -> None:
    """Not where something else reads the product, or where both operands vary."""
    text = """graph @main(%x: f16[64,1024]) -> (%q, %r) {
      weight %s: f16[] = 0.5
      weight %v: f16[1024] = splat(2.0)
      %a = Relu(%x)
      %b = Mul(%v, %a)
      %q = QuantizeLinear(%b, %s)
      %c = Relu(%x)
      %d = Mul(%c, %x)
      %r = QuantizeLinear(%d, %s)
    }"""
    rows = 64 * 1024
    found = [(n.node.op.key, n.bytes) for n in estimate(text).nodes]
    assert found == [
        ("Relu", 3 * rows), ("QuantizeLinear", 0), ("Relu", 4 * rows), ("Mul", 5 * rows), ("QuantizeLinear", 0),
    ]  # fmt: skip
    read = text.replace("(%q, %r)", "(%q, %r, %b)")
    assert [n.node.op.key for n in estimate(read).nodes].count("Mul") == 2


def test_what_is_no_product_runs_at_the_rate_of_fp32() -> None:
    found = estimate("graph @main(%x: f32[10]) -> (%y) {\n  %y = Exp(%x)\n}")
    assert found.nodes[0].bound == "launch"
    assert found.seconds == pytest.approx(LAUNCH + 80 / BANDWIDTH)


def test_memory_at_the_peak() -> None:
    """x 400 bytes stays; a (400) lives until c; b (800) until c; views are free."""
    text = """
graph @main(%x: f32[100]) -> (%d) {
  weight %w: f32[200] = splat(1.0)
  weight %to: i64[2] = [2, 50]
  %a = Neg(%x)
  %v = Reshape(%a, %to)
  %b = Concat(%a, %a) {axis = 0}
  %e = Mul(%b, %w)
  %c = ReduceSum(%v)
  %d = Add(%e, %c)
}"""
    found = estimate(text)
    assert found.weight_bytes == 800 + 16
    # at Mul: x, a (kept by its view), b and e
    assert found.peak_bytes == found.weight_bytes + 400 + 400 + 800 + 800
    assert found.fits is True
    assert estimate(text, "a100,memory=1000").fits is False


BRANCHES = """
graph @main(%c: bool[], %x: f32[1000]) -> (%y) {
  %y: f32[1000] = If(%c)
    with then_branch = () -> (%t) {
      %t = Exp(%x)
    }
    with else_branch = () -> (%f) {
      %e = Exp(%x)
      %f = Neg(%e)
    }
}
"""


def test_a_branch_counts_as_the_longer_one() -> None:
    found = estimate(BRANCHES)
    assert [n.node.op.key for n in found.nodes].count("Exp") == 2
    assert found.seconds == pytest.approx(2 * (LAUNCH + 8000 / BANDWIDTH))
    assert found.peak_bytes == 1 + 4000 + 4000 + 8000  # c, x, y and, inside the second branch, e and f


def test_unknown_sizes_are_said() -> None:
    found = estimate("graph @main(%x: f32[N]) -> (%y) {\n  %i = NonZero(%x)\n  %y = Neg(%i)\n}")
    assert [node.op.key for node in found.unknown] == ["NonZero", "Neg"]
    assert found.seconds == 0.0


def test_price_of_a_million_runs() -> None:
    text = "graph @main(%x: f32[10]) -> (%y) {\n  %y = Exp(%x)\n}"
    found = estimate(text, "a100,price=3.6")
    assert found.cost_per_million == pytest.approx(1000 * found.seconds)
    assert estimate(text).cost_per_million is None


def test_a_target_without_rates_is_refused() -> None:
    with pytest.raises(UsageError, match="target tensorrt has no peak rates"):
        estimate("graph @main(%x: f32[10]) -> (%y) {\n  %y = Exp(%x)\n}", "tensorrt")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.gir"
    path.write_text(
        HEADER + "graph @main(%x: f32[batch,S,64]) -> (%y: f32[batch,S,8]) {\n"
        "  weight %w: f32[64,8] = splat(1.0)\n  %y: f32[batch,S,8] = MatMul(%x, %w)\n}"
    )
    assert main(["estimate", str(path), "--target=a100,price=2", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["kind"] == "ESTIMATED" and record["flops"] == 2 * 128 * 64 * 8
    assert record["seconds"] == pytest.approx(sum(n["seconds"] for n in record["nodes"]))
    assert main(["estimate", str(path), "--target=a100,price=2", "--shape=S=16"]) == 0
    text = capsys.readouterr().out
    assert "ESTIMATED by roofline, nothing was run" in text and "assumed   batch=1 (--shape sets them)" in text
    assert "for a million runs" in text and "MatMul" in text
    assert main(["estimate", str(path), "--target=a1"]) == 2
    assert "no target 'a1'" in capsys.readouterr().err
    assert main(["targets", "a100"]) == 0
    assert "312 TOP/s" in capsys.readouterr().out
    assert main(["targets"]) == 0
    assert "graviton" in capsys.readouterr().out


def test_dimensions_without_a_name_are_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.gir"
    path.write_text(
        HEADER + "graph @main(%x: f32[?,3,?,?,N]) -> (%y: f32[?,3,?,?,N]) {\n  %y: f32[?,3,?,?,N] = Neg(%x)\n}"
    )
    assert main(["estimate", str(path), "--target=a100", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["assumed"] == ["x=1,3,128,128,1"]  # N stands for a batch
    assert (record["unknown_nodes"], record["flops"]) == (0, 3 * 128 * 128)
    assert main(["estimate", str(path), "--target=a100", "--json", "--shape=x=2,3,8,8,5"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["assumed"], record["flops"]) == ([], 2 * 3 * 8 * 8 * 5)
