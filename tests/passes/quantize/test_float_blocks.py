"""quantize-floats in blocks: numbers against ml_dtypes, weights against the ONNX reference evaluator, engines of RTX."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from geoc.ir.clone import clone_model
from geoc.ir.core import Model
from geoc.ir.errors import InvalidModel, UsageError
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.lowering.backend import Order
from geoc.lowering.emit import write_onnx
from geoc.lowering.onnxruntime.blocks_of_floats import write_out_blocks
from geoc.lowering.targets import get_target
from geoc.passes.quantize.minifloats import mxfp8, nvfp4, power_of_two, whole_scale

from .running import CONVOLUTIONS, PRODUCTS, Remarks, context, distance, feeds_of, model_of, outputs, run

E4M3, E2M1 = ml_dtypes.float8_e4m3fn, ml_dtypes.float4_e2m1fn
PRODUCT = """
graph @main(%x: f32[B,5,64]) -> (%y) {
  weight %w: f32[64,32] = random
  weight %b: f32[32] = random
  %m = MatMul(%x, %w)
  %y = Add(%m, %b)
}"""


def weights(model: Model) -> dict[str, np.ndarray]:
    return {v.hint: v.const.array() for n in model.graph for v in n.inputs if v is not None and v.const is not None}


def expanded(model: Model) -> Model:
    copy, _ = clone_model(model)
    write_out_blocks(copy)
    return copy


def nvfp4_at_run_time(x: np.ndarray, largest: float) -> np.ndarray:
    whole = whole_scale(largest)
    blocks = x.reshape(*x.shape[:-1], -1, 16)
    scale = (np.abs(blocks).max(-1, keepdims=True) / (whole * np.float32(6))).clip(0, 448).astype(E4M3).astype(np.float32) * whole
    codes = np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale > 0).clip(-6, 6).astype(E2M1)
    return (codes.astype(np.float32) * scale).reshape(x.shape)


def mxfp8_at_run_time(x: np.ndarray) -> np.ndarray:
    return mxfp8(x.reshape(-1, x.shape[-1])).dequantized().reshape(x.shape)


@pytest.mark.parametrize("format", ["nvfp4", "mxfp8"])
@pytest.mark.parametrize("size", [1.0, 1e-3, 300.0])
def test_a_product_is_that_of_rounded_operands(tmp_path: Path, format: str, size: float) -> None:
    model = model_of(PRODUCT)
    w, b = (weights(model)[name] for name in "wb")
    feeds = [{"x": f["x"] * np.float32(size)} for f in feeds_of(model, 3)]
    feeds[0]["x"][0, 1, 16:48] = 0
    feeds[1]["x"][0, 2] *= np.float32(2.0) ** np.arange(-32, 32).astype(np.float32) / 2.0**31
    assert run(model, f"quantize-floats{{format={format}}}", context(feeds, "b200"))
    largest = max(float(np.abs(f["x"]).max()) for f in feeds)
    if format == "nvfp4":
        rounded = nvfp4(np.ascontiguousarray(w.T), whole_scale(float(np.abs(w).max()))).dequantized().T
        expected = [[nvfp4_at_run_time(f["x"], largest) @ rounded + b] for f in feeds]
    else:
        expected = [[mxfp8_at_run_time(f["x"]) @ mxfp8(np.ascontiguousarray(w.T)).dequantized().T + b] for f in feeds]
    assert distance(outputs(expanded(model), tmp_path, feeds, "ORT_DISABLE_ALL")[0], expected) < 1e-6


def test_weights_are_what_the_standard_says_of_blocks(tmp_path: Path) -> None:
    """Two DequantizeLinear, one of the scales and one of the weights."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = model_of(PRODUCT)
    w = weights(model)["w"]
    assert run(model, "quantize-floats{format=nvfp4}", context(feeds_of(model, 2), "rtx5090"))
    turned = next(n for n in model.graph if n.op.key == "Transpose")
    model.graph.set_outputs([turned.output], ["w"])
    for node in model.graph.reversed():
        if not node.in_use:
            model.graph.erase(node)
    path = tmp_path / "weights.onnx"
    write_onnx(model, str(path), Order(get_target("rtx5090"), None, "inline"))
    (found,) = ReferenceEvaluator(onnx.load(path)).run(None, {"x": np.zeros((1, 5, 64), np.float32)})
    expected = nvfp4(np.ascontiguousarray(w.T), whole_scale(float(np.abs(w).max()))).dequantized().T
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.abs(found - w).max() < np.abs(w).max() / 5


@pytest.mark.parametrize(("format", "limit"), [("nvfp4", 0.25), ("mxfp8", 0.08)])
def test_a_whole_network(tmp_path: Path, format: str, limit: float) -> None:
    model = model_of(PRODUCTS)
    feeds = feeds_of(model, 4)
    expected, _ = outputs(model, tmp_path, feeds, "ORT_DISABLE_ALL")
    assert run(model, f"quantize-floats{{format={format}}}", context(feeds, "rtx5090"))
    assert 1e-3 < distance(outputs(expanded(model), tmp_path, feeds, "ORT_DISABLE_ALL")[0], expected) < limit


def test_mxfp8_needs_no_samples() -> None:
    assert run(model_of(PRODUCTS), "quantize-floats{format=mxfp8}", context(None, "b200"))
    with pytest.raises(UsageError, match="correct needs samples"):
        run(model_of(PRODUCTS), "quantize-floats{format=mxfp8,correct=4}", context(None, "b200"))
    with pytest.raises(UsageError, match="scales of nvfp4 need samples"):
        run(model_of(PRODUCTS), "quantize-floats{format=nvfp4}", context(None, "b200"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (CONVOLUTIONS, "there are no convolutions in nvfp4"),
        (PRODUCT.replace("B,5,", "B,5,7,"), "neither two nor three dimensions"),
        (PRODUCT.replace("64", "72").replace("i72", "i64"), "blocks of 16 do not divide its 72 inputs"),
    ],
)
def test_what_stays(text: str, why: str) -> None:
    model, remarks = model_of(text), Remarks()
    assert not run(model, "quantize-floats{format=nvfp4}", context(feeds_of(model, 1), "b200", instruments=[remarks]))
    assert any(why in r.message for r in remarks.all)


@pytest.mark.parametrize("target", ["a100", "l4", "h100", "cpu-vnni"])
@pytest.mark.parametrize("format", ["nvfp4", "mxfp8"])
def test_targets_without_blocks(target: str, format: str) -> None:
    with pytest.raises(UsageError, match=f"the target does not multiply in {format}"):
        run(model_of(PRODUCTS), f"quantize-floats{{format={format}}}", context([], target))


def test_types_of_what_quantizes_in_blocks() -> None:
    text = """geoc 1
    opset "" 23
    opset "trt" 1
    graph @main(%x: f16[B,4,64]) -> (%y, %s) {{
      %y, %s = trt::TRT_MXFP8DynamicQuantize(%x) {{axis={axis}, block_size={block}, output_dtype=17}}
    }}"""
    model = parse_model(text.format(axis=-1, block=32))
    infer_graph(model.graph)
    assert [str(v.type) for v in model.graph.outputs] == ["f8e4m3fn[B,4,64]", "u8[B,4,2]"]
    for axis, block in ((-1, 48), (3, 32)):
        with pytest.raises(InvalidModel, match="do not divide 64|is none of 3"):
            infer_graph(parse_model(text.format(axis=axis, block=block)).graph)


def test_powers_are_exact(tmp_path: Path) -> None:
    """Blocks whose largest number is 448 times a power of two, or one step more: a logarithm alone gets some wrong."""
    model = model_of("graph @main(%x: f32[B,32]) -> (%y) {\n  weight %w: f32[32,32] = random\n  %y = MatMul(%x, %w)\n}")
    w = mxfp8(np.ascontiguousarray(weights(model)["w"].T)).dequantized().T
    assert run(model, "quantize-floats{format=mxfp8}", context(None, "b200"))
    exact = (448 * power_of_two(np.arange(20, 230, dtype=np.uint8))).astype(np.float32)
    x = np.zeros((3 * len(exact), 32), np.float32)
    x[:, 0] = np.concatenate([exact, np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(0))])
    found = outputs(expanded(model), tmp_path, [{"x": x}], "ORT_DISABLE_ALL")[0][0][0]
    np.testing.assert_allclose(found, mxfp8_at_run_time(x) @ w, rtol=1e-6)


@pytest.mark.parametrize(("text", "format", "products", "small"), [(PRODUCTS, "nvfp4", 5, 5), (PRODUCT, "mxfp8", 1, 0)])
def test_tensorrt_rtx(tmp_path: Path, text: str, format: str, products: int, small: int) -> None:
    """All products read fp4. RTX 1.7 takes MXFP8 as well, and multiplies it in half precision."""
    pytest.importorskip("tensorrt_rtx")
    model = model_of(text.replace("[B,", "[2,").replace(",S]", ",32]"))
    target = get_target("rtx5090")
    ctx = context(feeds_of(model, 4), target)
    assert run(model, f"quantize-floats{{format={format}}},autocast{{to=fp16}},fold,cse,dce", ctx)
    assert not target.backend.unsupported(model, target)
    written = target.backend.emitters()["rtx-engine"].write(model, str(tmp_path / "model.rtx"), Order(target))
    assert (written.engine["products"], written.engine["fp4_products"]) == (products, small), written.engine["kernels"]
    said = [note for note in written.notes if "in half precision, which the graph has in 8 or 4 bits" in note]
    assert len(said) == (small == 0)
