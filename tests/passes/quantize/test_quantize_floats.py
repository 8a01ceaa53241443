"""quantize-floats: what is quantized, with which scales, and what stays; the numbers are computed again with ml_dtypes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.errors import InvalidModel, UsageError
from geoc.ir.tensor import Tensor
from geoc.ir.types import F32
from geoc.lowering.backend import Order
from geoc.lowering.targets import get_target
from geoc.passes.quantize.minifloats import scale_of

from .running import CONVOLUTIONS, PRODUCTS, Remarks, context, distance, feeds_of, model_of, outputs, run

PLAIN = "ORT_DISABLE_ALL"
ATTENTION = """
graph @main(%x: f32[2,48,64], %m: f32[1,1,1,48]) -> (%y) {
  weight %wq: f32[64,64] = random
  weight %wk: f32[64,64] = random
  weight %wv: f32[64,64] = random
  weight %apart: i64[4] = [0, 0, 2, 32]
  weight %together: i64[3] = [0, 0, 64]
  weight %s: f32[] = 0.1767767
  weight %nothing: f32[] = 0.0
  %q0 = MatMul(%x, %wq)
  %q1 = Reshape(%q0, %apart)
  %q2 = Transpose(%q1) {perm=[0, 2, 1, 3]}
  %q = Mul(%q2, %s)
  %k0 = MatMul(%x, %wk)
  %k1 = Reshape(%k0, %apart)
  %k = Transpose(%k1) {perm=[0, 2, 3, 1]}
  %v0 = MatMul(%x, %wv)
  %v1 = Reshape(%v0, %apart)
  %v = Transpose(%v1) {perm=[0, 2, 1, 3]}
  %l = MatMul(%q, %k)
  %lm = Add(%l, %m)
  %p = Softmax(%lm) {axis=3}
  %n = IsNaN(%p)
  %g = Where(%n, %nothing, %p)
  %o = MatMul(%g, %v)
  %t = Transpose(%o) {perm=[0, 2, 1, 3]}
  %y = Reshape(%t, %together)
}"""


def attended(masked: bool = False) -> tuple[Model, list[dict[str, np.ndarray]]]:
    model = model_of(ATTENTION)
    feeds = feeds_of(model, 3)
    for feed in feeds:
        feed["m"] = np.where(np.arange(48) < 40, 0, -np.inf).astype(np.float32).reshape(1, 1, 1, 48)
        if masked:
            feed["m"][:] = -np.inf
    return model, feeds


def ops(model: Model) -> Counter[str]:
    return Counter(node.op.key for node in model.walk())


def fake(array: np.ndarray, largest: float) -> np.ndarray:
    """Rounded to E4M3, in words of ml_dtypes alone."""
    scale = scale_of(largest)
    return np.clip(array / scale, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scale


def attention(feed: dict[str, np.ndarray], weights: dict[str, np.ndarray], see: Callable[[str, np.ndarray], np.ndarray]) -> np.ndarray:
    """ATTENTION in numpy; `see` gets each operand of a product by name, and gives what is multiplied."""
    x = see("x", feed["x"])
    q, k, v = (
        (x @ see(w, weights[w])).reshape(2, 48, 2, 32).transpose(0, 2, 1, 3).astype(np.float32) for w in ("wq", "wk", "wv")
    )
    scores = see("q", q * weights["s"]) @ see("k", k).swapaxes(2, 3) + feed["m"]
    e = np.exp(scores - scores.max(3, keepdims=True))
    p = (e / e.sum(3, keepdims=True)).astype(np.float32)
    return (see("p", p) @ see("v", v)).transpose(0, 2, 1, 3).reshape(2, 48, 64)


def test_a_product_is_that_of_rounded_operands(tmp_path: Path) -> None:
    text = """
    graph @main(%x: f32[B,64]) -> (%y) {
      weight %w: f32[64,32] = random
      %y = MatMul(%x, %w)
    }"""
    model = model_of(text)
    w = next(v.const for v in next(iter(model.graph)).inputs if v is not None and v.const is not None).array()
    feeds = feeds_of(model, 4)
    assert run(model, "quantize-floats", context(feeds, "l4"))
    largest = max(float(np.abs(f["x"]).max()) for f in feeds)
    expected = [[fake(f["x"], largest) @ fake(w, float(np.abs(w).max()))] for f in feeds]
    found, _ = outputs(model, tmp_path, feeds, PLAIN)
    assert distance(found, expected) < 1e-6
    assert ops(model) == {"QuantizeLinear": 1, "DequantizeLinear": 2, "MatMul": 1}
    beyond = [{"x": feeds[0]["x"] * 100}]  # saturates
    clipped = [[fake(beyond[0]["x"], largest) @ fake(w, float(np.abs(w).max()))]]
    assert distance(outputs(model, tmp_path, beyond, PLAIN)[0], clipped) < 1e-6


@pytest.mark.parametrize(("text", "layers"), [(CONVOLUTIONS, 3), (PRODUCTS, 5)])
def test_all_layers_within_a_few_percent(tmp_path: Path, text: str, layers: int) -> None:
    model = model_of(text)
    feeds = feeds_of(model, 4)
    expected, _ = outputs(model, tmp_path, feeds, PLAIN)
    assert run(model, "quantize-floats", context(feeds, "h100"))
    assert 0 < distance(outputs(model, tmp_path, feeds, PLAIN)[0], expected) < 0.08
    weights = {n.inputs[0] for n in model.graph if n.op.key == "DequantizeLinear" and n.inputs[0].const is not None}
    assert sum(len(w.uses) for w in weights) == len(weights) and len(weights) in (layers, layers - 1)  # one is read twice
    assert {str(w.dtype) for w in weights} == {"f8e4m3fn"}


def test_means_are_kept(tmp_path: Path) -> None:
    """Weights that are all rounded up shift what they give; biases make up for it, in floats."""
    text = """
    graph @main(%x: f32[B,16,6,6]) -> (%y) {
      weight %w: f32[32,16,3,3] = random
      %y = Conv(%x, %w)
    }"""
    found = []
    for options in ("", "{correct=4}"):
        model = model_of(text)
        feeds = [{"x": np.abs(f["x"])} for f in feeds_of(model, 4)]
        expected, _ = outputs(model, tmp_path, feeds, PLAIN)
        assert run(model, f"quantize-floats{options}", context(feeds, "l4"))
        conv = next(n for n in model.graph if n.op.key == "Conv")
        assert conv.inputs[2].const.dtype is F32
        found.append(np.mean([(a[0] - b[0]).mean((0, 2, 3)) for a, b in zip(outputs(model, tmp_path, feeds, PLAIN)[0], expected)], 0))
    assert np.abs(found[1]).max() < 1e-5 < 1e-3 < np.abs(found[0]).max()


def test_grouped_convolutions_stay() -> None:
    model, remarks = model_of(CONVOLUTIONS), Remarks()
    assert run(model, "quantize-floats", context(feeds_of(model, 1), "l4", instruments=[remarks]))
    assert [n.attr("group") for n in model.graph if n.op.key == "Conv" and n.inputs[1].const is not None] == [32]
    assert any("convolves channels apart" in r.message for r in remarks.all)


def test_one_pair_for_all_that_read_a_value() -> None:
    model = model_of(PRODUCTS)
    assert run(model, "quantize-floats", context(feeds_of(model, 2), "l4"))
    assert ops(model)["QuantizeLinear"] == 4  # queries and keys read one


def test_attention_whole(tmp_path: Path) -> None:
    """Its numbers are those of the same attention on rounded operands."""
    model, feeds = attended()
    weights = {v.hint: v.const.array() for n in model.graph for v in n.inputs if v is not None and v.const is not None}
    largest: dict[str, float] = {}
    for feed in feeds:
        attention(feed, weights, lambda name, a: largest.__setitem__(name, max(largest.get(name, 0), np.abs(a).max())) or a)
    largest |= {name: float(np.abs(w).max()) for name, w in weights.items()} | {"p": 1.0}
    expected = [[attention(feed, weights, lambda name, a: fake(a, largest[name]))] for feed in feeds]
    assert run(model, "quantize-floats,dce", context(feeds, "l4"))
    assert ops(model)["QuantizeLinear"] == 5 and ops(model)["IsNaN"] == 0
    scales = [n.inputs[1].const.item() for n in model.graph if n.op.key == "QuantizeLinear"]
    assert float(scale_of(1.0)) in scales
    for node in model.graph:
        if node.op.key == "MatMul":
            assert all(v.producer.op.key == "DequantizeLinear" for v in node.inputs)
    assert distance(outputs(model, tmp_path, feeds, PLAIN)[0], expected) < 2e-3  # a code may fall the other way


def test_a_hidden_row_stays_a_number(tmp_path: Path) -> None:
    """It gives the mean of the values, as in half precision."""
    model, feeds = attended()
    assert run(model, "quantize-floats,dce", context(feeds, "l4"))
    _, hidden = attended(masked=True)
    (found,) = outputs(model, tmp_path, hidden[:1], PLAIN)[0][0]
    assert np.isfinite(found).all() and np.abs(found).max() > 0


def test_a_choice_between_scores_keeps_its_zeros() -> None:
    text = ATTENTION.replace("%m: f32[1,1,1,48]", "%m: bool[1,1,1,48]").replace(
        "%lm = Add(%l, %m)", "%lm = Where(%m, %l, %far)"
    ).replace("weight %s", "weight %far: f32[] = -inf\n  weight %s")  # fmt: skip
    model = model_of(text)
    feeds = [{**f, "m": np.ones((1, 1, 1, 48), bool)} for f in feeds_of(model, 2)]
    assert run(model, "quantize-floats,dce", context(feeds, "l4"))
    assert ops(model)["IsNaN"] == 1 and ops(model)["QuantizeLinear"] == 5


@pytest.mark.parametrize(
    ("options", "pairs"),
    [("attention=false", 1), ('keep=["*"]', 0), ("keep=[0, 1]", 5), ("keep=[0, 1, 2]", 4), ('keep=["/o"]', 1)],
)
def test_what_is_kept(options: str, pairs: int) -> None:
    model, feeds = attended()
    assert run(model, f"quantize-floats{{{options}}}", context(feeds, "l4")) == (pairs > 0)
    assert ops(model)["QuantizeLinear"] == pairs


def test_what_has_no_kernel_stays() -> None:
    wide = model_of(
        """
    graph @main(%x: f32[1,16,20,20]) -> (%y) {
      weight %w: f32[32,16,7,7] = random
      %y = Conv(%x, %w)
    }"""
    )
    remarks = Remarks()
    assert not run(wide, "quantize-floats", context(feeds_of(wide, 2), "l4", instruments=[remarks]))
    assert any("its window is too large" in r.message for r in remarks.all)
    large = model_of(re.sub(r"\b64\b", "320", ATTENTION.replace("2, 32]", "1, 64]")))
    feeds = feeds_of(large, 2)
    remarks = Remarks()
    assert run(large, "quantize-floats", context(feeds, "l4", instruments=[remarks]))
    assert ops(large)["QuantizeLinear"] == 1 and ops(large)["IsNaN"] == 1
    assert any("one kernel for heads of 16 to 256" in r.message for r in remarks.all)
    short = model_of(ATTENTION.replace("48", "24"))
    remarks = Remarks()
    assert run(short, "quantize-floats", context(feeds_of(short, 2), "l4", instruments=[remarks]))
    assert ops(short)["QuantizeLinear"] == 1 and ops(short)["IsNaN"] == 1
    assert any("one kernel from 32 queries and keys on" in r.message for r in remarks.all)


@pytest.mark.parametrize("target", ["a100", "a10", "t4", "rtx3090", "orin", "tensorrt", "cpu-vnni", "openvino-cpu"])
def test_targets_without_it(target: str) -> None:
    model = model_of(PRODUCTS)
    with pytest.raises(UsageError, match="the target does not multiply in fp8; it has no floats"):
        run(model, "quantize-floats", context(feeds_of(model, 1), target))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("format=e5m2", "format is one of"), ("method=mse", "method is one of"), ("", "need samples: give --calib"),
    ],
)
def test_bad_options(options: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        run(model_of(PRODUCTS), f"quantize-floats{{{options}}}", context(None, "l4"))


def test_a_weight_that_is_no_number() -> None:
    model = model_of(PRODUCTS)
    node = next(n for n in model.graph if n.op.key == "MatMul")
    array = node.inputs[1].const.array().copy()
    array[1, 2] = np.nan
    node.inputs[1].const = Tensor.from_array(array)
    with pytest.raises(InvalidModel, match="weight %wq holds NaN or infinity"):
        run(model, "quantize-floats", context(feeds_of(model, 1), "l4"))


@pytest.mark.parametrize(("text", "products", "small"), [(CONVOLUTIONS, 4, 3), (PRODUCTS, 4, 4), (ATTENTION, 2, 2)])
def test_tensorrt_rtx(tmp_path: Path, text: str, products: int, small: int) -> None:
    """Its convolutions, products and attention read fp8 (products of one value are one product)."""
    pytest.importorskip("tensorrt_rtx")
    model = model_of(text.replace("[B,", "[2,").replace(",S]", ",3]"))
    feeds = attended()[1] if text is ATTENTION else feeds_of(model, 4)
    target = get_target("l4")
    ctx = context(feeds, target)
    assert run(model, "quantize-floats,autocast{to=fp16},fold,cse,dce", ctx)
    written = target.backend.emitters()["rtx-engine"].write(model, str(tmp_path / "model.rtx"), Order(target))
    counts = (written.engine["products"], written.engine["fp8_products"])
    assert counts == (products, small), written.engine["kernels"]
    assert written.engine["fused_attention"] == (text is ATTENTION)
