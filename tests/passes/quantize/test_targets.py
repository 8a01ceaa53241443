"""The same pass for other runtimes: which kernels OpenVINO and TensorRT-RTX choose for what it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoc.ir.types import I8
from geoc.lowering.backend import Order
from geoc.lowering.targets import get_target, list_targets
from geoc.passes.quantize.kernels import PLAIN, Integers, integers_of

from ...machine import ADDS_EXACTLY
from .running import CONVOLUTIONS, PRODUCTS, context, feeds_of, model_of, outputs, run


@pytest.mark.parametrize("name", list_targets())
def test_every_target_says_what_it_computes_in_integers(name: str) -> None:
    found = integers_of(get_target(name))
    assert found is not PLAIN and found.layers and found.closed <= found.layers and found.dynamic <= found.layers


@pytest.mark.parametrize(
    ("features", "reduced"), [(("avx2",), True), (("avx2", "avx512"), True), (("avx2", "avx512", "vnni"), False), ((), False)]
)
def test_openvino_where_sums_saturate(features: tuple[str, ...], reduced: bool) -> None:
    """oneDNN, "Nuances of int8 computations": without VNNI two products of u8 and i8 are added in 16 bits."""
    found = get_target("openvino-cpu").backend.integers(features)
    assert found.reduced == reduced and bool(found.attended) != reduced


def test_unknown_targets() -> None:
    assert integers_of(None) is PLAIN
    assert isinstance(integers_of(object()), Integers)


@pytest.mark.parametrize(("text", "integer"), [(CONVOLUTIONS, 4), (PRODUCTS, 5)])
def test_openvino(tmp_path: Path, text: str, integer: int) -> None:
    openvino = pytest.importorskip("openvino")
    model = model_of(text)
    feeds = feeds_of(model, 6)
    expected, _ = outputs(model, tmp_path, feeds)
    target = get_target("openvino-cpu")
    assert run(model, "quantize{method=minmax}", context(feeds, target))
    path = str(tmp_path / "model.xml")
    target.backend.emitters()["openvino"].write(model, path, Order(target))
    compiled = openvino.Core().compile_model(path, "CPU")
    off = [np.linalg.norm(next(iter(compiled(f).values())) - e[0]) / np.linalg.norm(e[0]) for f, e in zip(feeds, expected)]
    assert np.mean(off) < 0.06
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kinds = [(info["layerType"].astype(str), info["runtimePrecision"].astype(str)) for info in infos]
    if "avx512_vnni" in Path("/proc/cpuinfo").read_text():
        layers = [precision for kind, precision in kinds if kind in ("Convolution", "FullyConnected")]
        assert sum(precision in ("u8", "i8") for precision in layers) == integer
        # The sum is in the convolution before it, and the pool moves its codes: what is left over quantizes the input.
        assert all(precision in ("u8", "i8") for kind, precision in kinds if kind == "Pooling")
        assert sum(kind in ("Eltwise", "FakeQuantize") for kind, _ in kinds) <= 1 or text is PRODUCTS


def quantized_operands(text: str, key: str) -> list[list[bool]]:
    """Of each node of a kind after quantization for OpenVINO: which operands are codes."""
    model = model_of(text)
    assert run(model, "quantize{method=minmax}", context(feeds_of(model, 2), get_target("openvino-cpu")))
    made = [[v.producer for v in node.inputs if v is not None] for node in model.graph if node.op.key == key]
    return [[maker is not None and maker.op.key == "DequantizeLinear" for maker in makers] for makers in made]


TWO = """
graph @main(%x: f32[B,16,8,8]) -> (%y) {
  weight %a: f32[16,16,3,3] = random
  weight %b: f32[16,16,1,1] = random
  %left = Conv(%x, %a) {pads=[1, 1, 1, 1]}
  %right = Conv(%x, %b)
  %s = Add(%right, %left)
  %p = MaxPool(%s) {kernel_shape=[2, 2]}
  %y = Conv(%p, %a)
}"""


def test_what_a_convolution_adds_to_is_codes() -> None:
    """The shortcut of CONVOLUTIONS; of two results of convolutions the first, whatever the order of operands."""
    assert quantized_operands(CONVOLUTIONS, "Add") == [[False, True]]
    assert quantized_operands(TWO, "Add") == [[False, True]]


def test_sums_beside_products_stay_in_floats() -> None:
    assert not any(any(operands) for operands in quantized_operands(PRODUCTS, "Add"))


def test_quantization_stands_before_a_pool() -> None:
    assert quantized_operands(CONVOLUTIONS, "MaxPool") == quantized_operands(TWO, "MaxPool") == [[True]]
    assert quantized_operands(CONVOLUTIONS, "Conv")[-1] == [False, True]


@pytest.mark.parametrize(("text", "integer"), [(CONVOLUTIONS, 4), (PRODUCTS, 4)])
def test_tensorrt_rtx(tmp_path: Path, text: str, integer: int) -> None:
    """Its convolutions and products read i8 (two that read one value are one product)."""
    pytest.importorskip("tensorrt_rtx")
    model = model_of(text.replace("[B,", "[2,").replace(",S]", ",3]"))
    target = get_target("a100")
    assert run(model, "quantize{method=minmax}", context(feeds_of(model, 4), target))
    written = target.backend.emitters()["rtx-engine"].write(model, str(tmp_path / "model.rtx"), Order(target))
    heavy = [k for k in written.engine["kernels"] if k["kind"] in ("correlation", "gemm") or "conv" in k["kind"]]
    assert sum("Int8" in k["inputs"] for k in heavy) >= integer


ATTENTION = """
graph @main(%x: f32[B,S,32]) -> (%y) {
  weight %wq: f32[32,32] = random
  weight %bq: f32[32] = random
  weight %wk: f32[32,32] = random
  weight %wv: f32[32,32] = random
  weight %heads: i64[4] = [0, 0, 2, 16]
  %q0 = MatMul(%x, %wq)
  %q1 = Add(%q0, %bq)
  %k1 = MatMul(%x, %wk)
  %v1 = MatMul(%x, %wv)
  %q2 = Reshape(%q1, %heads)
  %k2 = Reshape(%k1, %heads)
  %v2 = Reshape(%v1, %heads)
  %q = Transpose(%q2) {perm=[0, 2, 1, 3]}
  %k = Transpose(%k2) {perm=[0, 2, 1, 3]}
  %v = Transpose(%v2) {perm=[0, 2, 1, 3]}
  %y = Attention(%q, %k, %v)
}"""


@pytest.mark.parametrize(("keep", "codes"), [("", 3), (",keep=[1]", 0)])
def test_what_attention_multiplies_is_signed_codes(tmp_path: Path, keep: str, codes: int) -> None:
    """Right behind the products, symmetric; not where the product that gives one of the three stays in floats, nor where
    sums saturate."""
    openvino = pytest.importorskip("openvino")
    model = model_of(ATTENTION)
    feeds, target = feeds_of(model, 3), get_target("openvino-cpu")
    expected, _ = outputs(model, tmp_path, feeds)
    assert run(model, f"quantize{{method=minmax{keep}}}", context(feeds, target))
    made = [node.inputs[0].producer for node in model.graph if node.op.key == "Reshape" and node.inputs[0] is not None]
    quantized = [maker for maker in made if maker is not None and maker.op.key == "DequantizeLinear"]
    assert len(quantized) == (codes if ADDS_EXACTLY else 0)
    for maker in quantized:
        zero = maker.inputs[2]
        assert zero is not None and zero.const is not None and zero.dtype is I8 and not zero.const.array().any()
    path = str(tmp_path / "model.xml")
    target.backend.emitters()["openvino"].write(model, path, Order(target))
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    off = [np.linalg.norm(compiled(f)[0] - e[0]) / np.linalg.norm(e[0]) for f, e in zip(feeds, expected)]
    assert np.mean(off) < 0.03
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kinds = [(info["layerType"].astype(str), info["runtimePrecision"].astype(str)) for info in infos]
    if "avx512_vnni" in Path("/proc/cpuinfo").read_text():
        assert ("Subgraph", "i8") in kinds or not codes
