"""quantize: the integer kernels that a default onnxruntime session selects, how far results are off, and what stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.errors import UsageError
from geoc.ir.evaluate import DeferredTensor
from geoc.ir.tensor import Tensor
from geoc.ir.text import print_model

from ...machine import COARSER, INTEGER_CPU
from .running import CONVOLUTIONS, PRODUCTS, Remarks, context, distance, feeds_of, model_of, outputs, run

LOWER = ",ort-quantized,fold,cse,dce"


def count(model: Model, op: str) -> int:
    return sum(node.op.name == op for node in model.graph)


@pytest.mark.parametrize("method", ["minmax", "average", "percentile", "entropy", "mse"])
def test_convolutions_run_in_integers(tmp_path: Path, method: str) -> None:
    model = model_of(CONVOLUTIONS)
    feeds = feeds_of(model, 8)
    expected, _ = outputs(model, tmp_path, feeds)
    assert run(model, f"quantize{{method={method}}}{LOWER}", context(feeds))
    found, ops = outputs(model, tmp_path, feeds)
    assert ops["QLinearConv"] == 4 and ops["QLinearAdd"] == 1
    assert not {"Conv", "FusedConv", "Add", "Relu", "Clip"} & set(ops)
    assert ops["QuantizeLinear"] == 1 and ops["DequantizeLinear"] == 1  # at both ends
    assert distance(found, expected) < (0.4 if method in ("entropy", "average") else 0.04)
    # The session computes what the graph says: the same as without any optimization, a code or two apart.
    plain, _ = outputs(model, tmp_path, feeds, "ORT_DISABLE_ALL")
    assert distance(found, plain) < 0.02


@pytest.mark.parametrize("static", [True, False])
def test_products_run_in_integers(tmp_path: Path, static: bool) -> None:
    model = model_of(PRODUCTS)
    feeds = feeds_of(model, 8)
    expected, _ = outputs(model, tmp_path, feeds)
    source = model.weight_bytes
    assert run(model, f"quantize{{static={str(static).lower()},method=minmax}}{LOWER}", context(feeds if static else None, INTEGER_CPU))
    found, ops = outputs(model, tmp_path, feeds)
    assert ops["MatMulIntegerToFloat"] + ops["DynamicQuantizeMatMul"] == 5
    assert not {"MatMul", "Gemm", "DequantizeLinear"} & set(ops)
    if static:
        assert ops["QuantizeLinear"] == 4  # one for both products of %n
    else:  # which the session takes into the products that alone read it
        assert ops["DynamicQuantizeLinear"] == 1 and ops["DynamicQuantizeMatMul"] == 3
    assert distance(found, expected) < 0.03 * COARSER
    assert model.weight_bytes < source / 2.5  # scales and biases are much of so small a model


def test_one_pair_for_a_tensor() -> None:
    model = model_of(PRODUCTS)
    run(model, "quantize", context(feeds_of(model, 2)))
    pairs = [node for node in model.graph if node.op.key == "QuantizeLinear"]
    assert len({node.inputs[0] for node in pairs}) == len(pairs) == 4
    normed = next(node.output for node in model.graph if node.op.key == "LayerNormalization")
    assert sorted(node.op.key for node in normed.users) == ["Add", "QuantizeLinear"]  # the sum reads floats


def test_weights_are_computed_when_written() -> None:
    model = model_of(PRODUCTS)
    run(model, "quantize", context(feeds_of(model, 2)))
    codes = [n.inputs[0].const for n in model.graph if n.op.key == "DequantizeLinear" and n.inputs[0] is not None and n.inputs[0].const is not None]
    assert len(codes) == 6 and all(isinstance(tensor, DeferredTensor) for tensor in codes)


def test_seven_bits_where_sums_saturate() -> None:
    for target, most in (("cpu-vnni", 127), ("cpu-avx2", 63)):
        model = model_of(CONVOLUTIONS)
        run(model, "quantize", context(feeds_of(model, 2), target))
        codes = [n.inputs[0].const.array() for n in model.graph if n.op.key == "DequantizeLinear" and n.inputs[0].const is not None and n.inputs[0].dtype.name == "i8"]  # type: ignore[union-attr]
        assert max(int(np.abs(c.astype(int)).max()) for c in codes) == most


def test_dead_channels(tmp_path: Path) -> None:
    """A channel without weights keeps its bias, which would overflow at the scale of its products."""
    model = model_of(CONVOLUTIONS)
    first = next(node for node in model.graph if node.op.key == "Conv")
    w, b = first.inputs[1], first.inputs[2]
    assert w is not None and w.const is not None and b is not None and b.const is not None
    weights, bias = w.const.array().copy(), b.const.array().copy()
    weights[3] = 0
    weights[4] *= 1e-9
    bias[3:5] = 1.5
    w.const, b.const = Tensor.from_array(weights), Tensor.from_array(bias)
    feeds = feeds_of(model, 4)
    expected, _ = outputs(model, tmp_path, feeds)
    run(model, "quantize{method=minmax}", context(feeds))
    found, _ = outputs(model, tmp_path, feeds)
    assert distance(found, expected) < 0.04


def test_what_stays_in_floats() -> None:
    model = model_of(PRODUCTS)
    remarks = Remarks()
    run(model, 'quantize{keep=[Gemm],tables=false}', context(feeds_of(model, 2), instruments=[remarks]))
    assert count(model, "Gemm") == 1 and count(model, "Gather") == 1
    assert [r.message for r in remarks.all if r.kind == "refused"] == ["Gemm stays in floats: it is in keep"]
    gather = next(node for node in model.graph if node.op.key == "Gather")
    assert gather.inputs[0] is not None and gather.inputs[0].const is not None


def test_pictures_and_what_is_small_stay() -> None:
    model = model_of("""
graph @main(%x: f32[1,3,8,8]) -> (%y, %z) {
  weight %w: f32[64,3,3,3] = random
  weight %d: f32[64,1,3,3] = random
  weight %v: f32[8,40] = random
  %c = Conv(%x, %w)
  %y = Conv(%c, %d) {group=64}
  %z = MatMul(%x, %v)
}""")
    before = print_model(model)
    assert not run(model, "quantize", context(feeds_of(model, 1)))
    assert print_model(model) == before


def test_float_results_between_integers_are_not_carried(tmp_path: Path) -> None:
    """A sum that only floats read is not made in integers: nobody would profit."""
    model = model_of("""
graph @main(%x: f32[B,16,8,8]) -> (%y) {
  weight %w: f32[16,16,3,3] = random
  %a = Conv(%x, %w) {pads=[1, 1, 1, 1]}
  %b = Conv(%a, %w) {pads=[1, 1, 1, 1]}
  %s = Add(%a, %b)
  %y = Exp(%s)
}""")
    feeds = feeds_of(model, 3)
    run(model, "quantize", context(feeds))
    add = next(node for node in model.graph if node.op.key == "Add")
    assert [node.op.key for node in add.output.users] == ["Exp"]
    _, ops = outputs(model, tmp_path, feeds)
    assert ops["QLinearConv"] == 2 and ops["Add"] == 1


def test_joined_values_share_a_scale(tmp_path: Path) -> None:
    model = model_of("""
graph @main(%x: f32[B,16,4,4]) -> (%y) {
  weight %w: f32[16,16,3,3] = random
  weight %v: f32[16,32,3,3] = random
  %a = Conv(%x, %w) {pads=[1, 1, 1, 1]}
  %r = Relu(%a)
  %b = Conv(%r, %w) {pads=[1, 1, 1, 1]}
  %c = Concat(%r, %b) {axis=1}
  %y = Conv(%c, %v)
}""")
    feeds = feeds_of(model, 3)
    expected, _ = outputs(model, tmp_path, feeds)
    run(model, "quantize{method=minmax}", context(feeds))
    concat = next(node for node in model.graph if node.op.key == "Concat")
    back = [value.producer for value in concat.inputs if value is not None]
    behind = next(iter(concat.output.users))
    assert len({node.inputs[1] for node in [*back, behind] if node is not None}) == 1
    assert count(model, "Relu") == 1  # its codes reach below zero
    assert distance(outputs(model, tmp_path, feeds)[0], expected) < 0.04


def test_layers_inside_branches(tmp_path: Path) -> None:
    model = model_of("""
graph @main(%f: bool[], %x: f32[B,32]) -> (%y) {
  weight %w: f32[32,32] = random
  %y = If(%f)
    with then_branch = () -> (%t) {
      %t = MatMul(%x, %w)
    }
    with else_branch = () -> (%e) {
      %e = Neg(%x)
    }
}""")
    feeds = [{"f": np.array(flag), "x": np.random.default_rng(0).standard_normal((2, 32)).astype(np.float32)} for flag in (True, False)]
    expected, _ = outputs(model, tmp_path, feeds)
    assert run(model, f"quantize{{static=false}}{LOWER}", context(None, INTEGER_CPU))
    assert any(node.op.name == "MatMulIntegerToFloat" for node in model.walk())
    assert distance(outputs(model, tmp_path, feeds)[0], expected) < 0.03 * COARSER


def test_bisection_leaves_layers_out() -> None:
    model = model_of(PRODUCTS)
    run(model, "quantize{tables=false}", context(feeds_of(model, 2), bisect_limit=2))
    assert count(model, "QuantizeLinear") == 1  # both products of %n


def test_bad_use() -> None:
    for passes, message in {
        "quantize": "samples",
        "quantize{method=best}": "not 'best'",
        "quantize{weights=best}": "not 'best'",
        "quantize{activations=i4}": "not 'i4'",
        "quantize{static=false,correct=2}": "samples",
        "smooth": "samples",
    }.items():
        with pytest.raises(UsageError, match=message):
            run(model_of(PRODUCTS), passes, context(None))
    feeds = feeds_of(model_of(CONVOLUTIONS), 3)
    feeds[2]["x"][0, 0, 0, 0] = np.nan
    with pytest.raises(UsageError, match=r"sample 2, tensor %x: it holds NaN"):
        run(model_of(CONVOLUTIONS), "quantize", context(feeds))
