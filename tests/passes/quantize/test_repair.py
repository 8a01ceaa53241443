"""What repairs accuracy: smooth computes the same with smaller errors, corrected biases bring means back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.tensor import Tensor
from geoc.lowering.targets import get_target
from geoc.passes.base import place_of
from geoc.passes.quantize.kernels import integers_of
from geoc.passes.quantize.observers import Mean
from geoc.passes.quantize.placement import layers_of

from ...machine import COARSER, INTEGER_CPU
from .running import CONVOLUTIONS, PRODUCTS, context, distance, feeds_of, model_of, outputs, run

ATTENTION = """
graph @main(%x: f32[B,6,32]) -> (%y) {
  weight %w: f32[32,32] = random
  weight %b: f32[32] = random
  weight %o: f32[32,32] = random
  %m = MatMul(%x, %w)
  %v = Add(%m, %b)
  %a = Attention(%x, %x, %v) {q_num_heads=4, kv_num_heads=4}
  %y = MatMul(%a, %o)
}"""
NORMED = """
graph @main(%x: f32[B,6,32]) -> (%y) {
  weight %g: f32[32] = random
  weight %h: f32[32] = random
  weight %w: f32[32,64] = random
  weight %v: f32[64,32] = random
  %n = LayerNormalization(%x, %g, %h)
  %m = MatMul(%n, %w)
  %y = MatMul(%m, %v)
}"""


def with_outliers(model: Model, hint: str) -> Model:
    """One channel of a vector of weights becomes fifty times as large."""
    for node in model.graph:
        for value in node.inputs:
            if value is not None and value.const is not None and value.hint == hint:
                numbers = value.const.array().copy()
                numbers[..., 5] *= 50
                value.const = Tensor.from_array(numbers)
                return model
    raise AssertionError(hint)


@pytest.mark.parametrize(
    ("text", "hint", "more"),
    [(PRODUCTS, "g", 1), (NORMED, "g", 0), (ATTENTION, "b", 0)], ids=["multiplied", "in the norm", "in the values"],
)  # fmt: skip
def test_smooth(tmp_path: Path, text: str, hint: str, more: int) -> None:
    text = text.replace('"" 21', '"" 23')
    original, smooth, plain = (with_outliers(model_of(text), hint) for _ in range(3))
    feeds = feeds_of(original, 8)
    expected, _ = outputs(original, tmp_path, feeds)
    nodes = len(smooth.graph)
    assert run(smooth, "smooth{least=0.6}", context(feeds))
    if not more:
        assert len(smooth.graph) == nodes
    np.testing.assert_allclose(distance(outputs(smooth, tmp_path, feeds)[0], expected), 0, atol=2e-6)
    run(smooth, "quantize{method=minmax},ort-quantized,dce", context(feeds, INTEGER_CPU))
    run(plain, "quantize{method=minmax},ort-quantized,dce", context(feeds, INTEGER_CPU))
    better, worse = (distance(outputs(m, tmp_path, feeds)[0], expected) for m in (smooth, plain))
    assert better < (0.7 if COARSER == 1 else 0.8) * worse


def test_smooth_leaves_single_rows_alone() -> None:
    """What a classifier reads of a picture is one row: its outliers are those of the pictures that were seen."""
    rows = with_outliers(model_of(NORMED), "g")
    single = with_outliers(model_of(NORMED.replace("f32[B,6,32]", "f32[B,32]")), "g")
    assert run(rows, "smooth{least=0.6}", context(feeds_of(rows, 8)))
    assert not run(single, "smooth{least=0.6}", context(feeds_of(single, 8)))


def test_smooth_leaves_even_channels_alone() -> None:
    model = model_of(NORMED)
    assert not run(model, "smooth", context(feeds_of(model, 4)))


def test_smooth_leaves_alone_what_stays_in_floats() -> None:
    """What such layers alone read, by a budget or by `keep`; it is scaled where another layer reads it."""
    text = NORMED.replace("(%y) {", "(%y, %z) {\n  weight %u: f32[32,64] = random")
    text = text.replace("  %m =", "  %z = MatMul(%n, %u)\n  %m =")

    def smoothed(keep: str = "", kept: Sequence[int] = ()) -> bool:
        model = with_outliers(model_of(text), "g")
        layers = layers_of(model.graph, integers_of(get_target("cpu-vnni")))
        assert [layer.output.hint for layer in layers] == ["z", "m", "y"]
        places = {place_of("quantize", "", layers[number]): "for a test" for number in kept}
        return run(model, f"smooth{{least=0.6{keep}}}", context(feeds_of(model, 8), kept=places))

    assert smoothed() and smoothed(kept=[0, 2]) and smoothed(",keep=[1, 2]")
    assert not smoothed(kept=[0, 1, 2]) and not smoothed(",keep=[0, 1, 2]") and not smoothed(",keep=[0]", [1, 2])


def means(model: Model, ctx_feeds: list[dict[str, np.ndarray]], op: str, axis: int) -> list[np.ndarray]:
    seen = {node.inputs[0]: Mean(axis) for node in model.graph if node.op.key == op and node.inputs[0] is not None}
    ctx = context(ctx_feeds)
    assert ctx.observe is not None
    ctx.observe(model, seen)
    return [mean.mean for mean in seen.values()]


@pytest.mark.parametrize("static", [True, False])
def test_corrected_means(static: bool) -> None:
    """Behind a product, the mean of every channel is that of the floats."""
    feeds = feeds_of(model_of(PRODUCTS), 6)
    exact = model_of(PRODUCTS)
    run(exact, "quantize{static=false,keep=[MatMul,Gemm],tables=false}", context(None))
    off = {}
    for correct in (0, 6):
        model = model_of(PRODUCTS)
        run(model, f"quantize{{static={str(static).lower()},correct={correct}}}", context(feeds))
        wanted = means(exact, feeds, "Gelu", -1)
        off[correct] = np.linalg.norm(means(model, feeds, "Gelu", -1)[0] - wanted[0])
    assert off[6] < 0.01 * off[0]


def test_corrected_convolutions(tmp_path: Path) -> None:
    """With and without a bias of their own, in integers: nearer to the floats, and still integer kernels."""
    feeds = feeds_of(model_of(CONVOLUTIONS), 6)
    expected, _ = outputs(model_of(CONVOLUTIONS), tmp_path, feeds)
    off = {}
    for correct in (0, 6):
        model = model_of(CONVOLUTIONS)
        run(model, f"quantize{{method=mse,correct={correct}}}", context(feeds))
        found, ops = outputs(model, tmp_path, feeds)
        assert ops["QLinearConv"] == 4 and "Conv" not in ops
        off[correct] = np.linalg.norm(np.mean([f[0] - e[0] for f, e in zip(found, expected)], axis=(0, 1, 3, 4)))
    assert off[6] < 0.6 * off[0]
