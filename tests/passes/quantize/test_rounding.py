"""Weights rounded by what layers read: patches are those of a convolution, and products come out nearer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx.reference.ops.op_conv import _conv_implementation

from geoc.ir.core import Model
from geoc.ir.errors import UsageError
from geoc.ir.text import parse_model
from geoc.passes.quantize.rounding import Patches, rounded
from geoc.passes.quantize.scheme import REDUCED_WEIGHTS, WEIGHTS

from .running import CONVOLUTIONS, PRODUCTS, Feeds, context, distance, feeds_of, model_of, outputs, run

CONV = """
graph @main(%x: f32[B,{channels},{size}]) -> (%y) {{
  weight %w: f32[{outputs},{inputs},{kernel}] = random
  %y = Conv(%x, %w) {{{attrs}}}
}}"""


@pytest.mark.parametrize(
    ("channels", "groups", "size", "kernel", "attrs"),
    [
        (4, 1, "9,7", "3,3", "pads=[1, 1, 1, 1]"),
        (4, 2, "9,8", "3,2", "strides=[2, 3], pads=[0, 1, 2, 0]"),
        (4, 4, "11,9", "3,3", "dilations=[2, 1]"),
        (3, 1, "20", "5", "strides=[2]"),
        (2, 2, "5,6,7", "2,1,3", "pads=[1, 0, 1, 0, 0, 1]"),
    ],
    ids=["padded", "groups", "dilated", "one dimension", "three dimensions"],
)  # fmt: skip
def test_patches_are_what_a_convolution_multiplies(channels: int, groups: int, size: str, kernel: str, attrs: str) -> None:
    """sum of y^2 = tr(W X^T X W^T), with y by the reference evaluator."""
    text = CONV.format(channels=channels, size=size, outputs=4, inputs=channels // groups, kernel=kernel, attrs=f"{attrs}, group={groups}")
    model = model_of(text)
    [node] = model.graph
    w = node.inputs[1].const.array()  # type: ignore[union-attr]
    x = np.random.default_rng(2).standard_normal((2, channels, *map(int, size.split(",")))).astype(np.float32)
    seen = Patches(node, w.shape[2:])
    seen.add(x[:1])
    seen.add(x[1:])
    rows = w.reshape(groups, 4 // groups, -1).astype(np.float64)
    ours = ((rows @ seen.matrix) * rows).sum()
    spatial = len(w.shape) - 2
    pads = list(node.attr("pads") or (0,) * (2 * spatial))
    y = _conv_implementation(
        x, w, None, "NOTSET", list(node.attr("dilations") or (1,) * spatial), groups, list(w.shape[2:]), pads, list(node.attr("strides") or (1,) * spatial)
    )  # fmt: skip
    np.testing.assert_allclose(ours, (y.astype(np.float64) ** 2).sum(), rtol=1e-5)


def test_many_patches_are_thinned_out() -> None:
    model = model_of(CONV.format(channels=1, size="64,64", outputs=2, inputs=1, kernel="1,1", attrs="group=1"))
    [node] = model.graph
    seen = Patches(node, (1, 1))
    seen.add(np.ones((1, 1, 64, 64), np.float32))
    assert seen.matrix.tolist() == [[[1024.0]]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_numbers_that_are_none(bad: float) -> None:
    model = model_of(CONV.format(channels=1, size="4,4", outputs=2, inputs=1, kernel="1,1", attrs="group=1"))
    [node] = model.graph
    with pytest.raises(ValueError, match="NaN"):
        Patches(node, (1, 1)).add(np.full((1, 1, 4, 4), bad, np.float32))


@pytest.mark.parametrize("scheme", [WEIGHTS, REDUCED_WEIGHTS], ids=["eight bits", "seven"])
@pytest.mark.parametrize("groups", [1, 6])
def test_products_are_nearer(scheme, groups: int) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((groups, 300, 8)) @ rng.standard_normal((groups, 8, 40))).astype(np.float32)
    x += 0.1 * rng.standard_normal(x.shape).astype(np.float32)
    x[:, :, 7] = 0
    w = rng.standard_normal((groups, 5, 40)).astype(np.float32)
    scale = (np.abs(w).max(2) / scheme.high).astype(np.float32)
    codes = rounded(w, x.transpose(0, 2, 1).astype(np.float64) @ x, scale, scheme)
    assert codes.dtype == np.int8 and codes.max() <= scheme.high and codes.min() >= scheme.low

    def loss(made: np.ndarray) -> float:
        return float(np.linalg.norm(x @ (w - made * scale[:, :, None]).transpose(0, 2, 1)))

    assert loss(codes) < 0.6 * loss(np.clip(np.rint(w / scale[:, :, None]), scheme.low, scheme.high))
    # A weight moves to another code to make up for others, not far from where it was.
    assert np.abs(codes - w / scale[:, :, None]).max() < 8


def test_no_samples_no_change() -> None:
    w = np.random.default_rng(0).standard_normal((1, 3, 16)).astype(np.float32)
    scale = np.float32(0.02)
    np.testing.assert_array_equal(rounded(w, np.zeros((1, 16, 16)), scale), np.clip(np.rint(w / scale), -127, 127))


def correlated(model: Model, count: int) -> list[Feeds]:
    """Pictures whose channels are mixtures of two."""
    rng = np.random.default_rng(5)
    mix = rng.standard_normal((2, 16)).astype(np.float32)
    return [{"x": np.einsum("bkhw,kc->bchw", rng.standard_normal((2, 2, 8, 8)), mix).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("text", [CONVOLUTIONS, PRODUCTS], ids=["convolutions", "products"])
def test_the_model_is_nearer(tmp_path: Path, text: str) -> None:
    plain, better = model_of(text), model_of(text)
    feeds = correlated(plain, 12) if text is CONVOLUTIONS else feeds_of(plain, 12)
    expected, _ = outputs(plain, tmp_path, feeds)
    tail = ",ort-quantized,fold,cse,dce"
    run(plain, f"quantize{{method=minmax}}{tail}", context(feeds))
    run(better, f"quantize{{method=minmax,rounding=gptq}}{tail}", context(feeds))
    codes = [[v.const.digest() for n in m.graph for v in n.inputs if v is not None and v.const is not None] for m in (plain, better)]
    assert codes[0] != codes[1]
    assert distance(outputs(better, tmp_path, feeds)[0], expected) < distance(outputs(plain, tmp_path, feeds)[0], expected)


def test_needs_samples_and_a_known_word() -> None:
    for options, said in (("static=false,rounding=gptq", "samples"), ("rounding=up", "nearest or gptq")):
        with pytest.raises(UsageError, match=said):
            run(model_of(PRODUCTS), f"quantize{{{options}}}", context(None))


def test_patches_go_on_where_they_stopped() -> None:
    """Those that wait for more are not multiplied early: the sum is the same to the last bit."""
    text = """geoc 1
opset "" 17

graph @main(%x: f32[B,3,6,6]) -> (%y) {
  weight %w: f32[4,3,3,3] = splat(1.0)
  %y = Conv(%x, %w)
}
"""
    (node,) = parse_model(text).graph
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((40, 3, 6, 6)).astype(np.float32) for _ in range(5)]
    whole = Patches(node, (3, 3))
    for array in arrays:
        whole.add(array)
    before, after = Patches(node, (3, 3)), Patches(node, (3, 3))
    for array in arrays[:3]:
        before.add(array)
    after.restore(before.state())
    for array in arrays[3:]:
        after.add(array)
    assert after.matrix.tobytes() == whole.matrix.tobytes()
    assert after.settings == whole.settings == Patches(node, (3, 3)).settings != Patches(node, (1, 3)).settings
