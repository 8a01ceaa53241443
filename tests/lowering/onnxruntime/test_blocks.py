"""Weights in blocks in a default session of onnxruntime: which kernels run, and that the numbers are those of the weights."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from geoc.ir.core import Model
from geoc.ir.infer import infer_graph
from geoc.ir.tensor import Tensor
from geoc.ir.text import parse_model
from geoc.ir.types import F32
from geoc.lowering.onnx import model_bytes
from geoc.lowering.targets import get_target
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import before_forms, level_items, parse
from geoc.passes.quantize.blocks import KINDS, Scheme
from geoc.passes.quantize.rtn import in_half, rtn
from geoc.passes.registry import Registry

LAYER = """graph @main(%ids: i64[B,S], %pk: f32[B,2,P,32], %pv: f32[B,2,P,32]) -> (%y, %nk, %nv) {
  weight %wq: f32[64,64] = splat(1.0)
  weight %wk: f32[64,64] = splat(2.0)
  weight %wv: f32[64,64] = splat(3.0)
  weight %bq: f32[64] = splat(4.0)
  weight %bk: f32[64] = splat(5.0)
  weight %bv: f32[64] = splat(6.0)
  weight %up: f32[64,128] = splat(7.0)
  weight %gate: f32[64,128] = splat(8.0)
  weight %down: f32[128,64] = splat(9.0)
  weight %table: f32[50,64] = splat(10.0)
  weight %heads: i64[4] = [0, 0, 2, 32]
  weight %rows: i64[3] = [0, 0, 64]
  %x = Gather(%table, %ids)
  %mq = MatMul(%x, %wq)
  %mk = MatMul(%x, %wk)
  %mv = MatMul(%x, %wv)
  %aq = Add(%mq, %bq)
  %ak = Add(%bk, %mk)
  %av = Add(%mv, %bv)
  %hq = Reshape(%aq, %heads)
  %hk = Reshape(%ak, %heads)
  %hv = Reshape(%av, %heads)
  %q = Transpose(%hq) {perm=[0, 2, 1, 3]}
  %k = Transpose(%hk) {perm=[0, 2, 1, 3]}
  %v = Transpose(%hv) {perm=[0, 2, 1, 3]}
  %nk = Concat(%pk, %k) {axis=2}
  %nv = Concat(%pv, %v) {axis=2}
  %o = Attention(%q, %nk, %nv)
  %t = Transpose(%o) {perm=[0, 2, 1, 3]}
  %h = Reshape(%t, %rows)
  %g = MatMul(%h, %gate)
  %s = Sigmoid(%g)
  %u = MatMul(%h, %up)
  %m = Mul(%s, %u)
  %d = MatMul(%m, %down)
  %tt = Transpose(%table) {perm=[1, 0]}
  %y = MatMul(%d, %tt)
}"""
HEADS, SIZE = 2, 32
PACKED = "com.microsoft::MatMulNBits"


def layer() -> tuple[Model, dict[str, Any]]:
    """The layer with random weights, and these by name."""
    model = parse_model(f'geoc 1\nopset "" 24\n\n{LAYER}')
    random = np.random.default_rng(0)
    weights: dict[str, Any] = {}
    for node in model.graph:
        for value in node.inputs:
            if value is not None and value.const is not None and value.dtype is F32 and value.hint not in weights:
                array = random.normal(size=value.const.shape).astype(np.float32) / 4
                weights[value.hint] = array
                value.const = Tensor.from_array(array)
    infer_graph(model.graph)
    return model, weights


def stored(weights: dict[str, Any], bits: int, kind: str) -> dict[str, Any]:
    """What the weights are once they are in blocks of 32: the quantizer's own numbers, which test_blocks bounds."""
    found = dict(weights)
    for name, array in weights.items():
        if array.ndim == 2:
            scheme = Scheme(8 if name == "table" else bits, 32, kind if bits < 8 and name != "table" else "symmetric")
            matrix = array if name == "table" else np.ascontiguousarray(array.T)
            made = in_half(rtn(matrix, scheme, clip=False), matrix).dequantized()
            found[name] = made if name == "table" else made.T
    return found


def wanted(w: dict[str, Any], ids: Any, pk: Any, pv: Any) -> list[Any]:
    """The layer in float64."""
    w = {name: array.astype(np.float64) for name, array in w.items()}
    x = w["table"][ids]

    def heads(name: str) -> Any:
        return (x @ w[f"w{name}"] + w[f"b{name}"]).reshape(*x.shape[:2], HEADS, SIZE).swapaxes(1, 2)

    q, keys, values = heads("q"), np.concatenate([pk, heads("k")], 2), np.concatenate([pv, heads("v")], 2)
    scores = q @ keys.swapaxes(2, 3) / np.sqrt(SIZE)
    parts = np.exp(scores - scores.max(-1, keepdims=True))
    h = (parts / parts.sum(-1, keepdims=True) @ values).swapaxes(1, 2).reshape(x.shape)
    d = (h @ w["up"] / (1 + np.exp(-(h @ w["gate"])))) @ w["down"]
    return [d @ w["table"].T, keys, values]


def quantized(options: str, behind: str = "") -> Model:
    """The layer after -O2 for this machine with quantize-weights in it."""
    model, _ = layer()
    target = get_target("cpu-avx512")
    items = before_forms(level_items(2, target.pipeline), parse(f"quantize-weights{{least=1,{options}}}"))
    tail = parse(f"{behind}share-weights{{transposed=false}},cse,dce")
    run_pipeline(model, Registry(target.rule_sets).resolve((*items, *tail)), Context(capabilities=target.capabilities))
    return model


def session(model: Model, profile: Path | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    target = get_target("cpu")
    data = model_bytes(model, max_opset=target.max_opset, max_ir=target.max_ir)
    return onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])


def feeds(batch: int, length: int, past: int) -> dict[str, Any]:
    random = np.random.default_rng(length)
    pk, pv = (random.normal(size=(batch, HEADS, past, SIZE)).astype(np.float32) for _ in "kv")
    return {"ids": random.integers(0, 50, (batch, length)), "pk": pk, "pv": pv}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_a_layer_is_what_its_weights_say(bits: int, kind: str) -> None:
    model = quantized(f"bits={bits},kind={kind}")
    found = Counter(node.op.key for node in model.walk())
    # Queries, keys and values are one product, gate and up another; the other two are down and the table.
    assert (found[PACKED], found["com.microsoft::GatherBlockQuantized"]) == (4, 1)
    assert (found["Conv"], found["DequantizeLinear"], found["Gather"], found["Split"]) == (0, 0, 0, 2)
    assert found["MatMul"] == (3 if kind == "minimum" and bits < 8 else 0)
    run, weights = session(model), stored(layer()[1], bits, kind)
    for batch, length, past in ((1, 1, 5), (3, 1, 2), (2, 7, 0)):
        given = feeds(batch, length, past)
        for a, b in zip(run.run(None, given), wanted(weights, *given.values()), strict=True):
            np.testing.assert_allclose(a, b, 1e-4, 1e-4)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_rows_in_8_bits_are_near(bits: int, tmp_path: Path) -> None:
    model = quantized(f"bits={bits}", "nbits-rows,")
    run, weights = session(model, tmp_path / "profile"), stored(layer()[1], bits, "symmetric")
    given = feeds(2, 3, 4)
    for a, b in zip(run.run(None, given), wanted(weights, *given.values()), strict=True):
        assert np.linalg.norm(a - b) <= 0.02 * np.linalg.norm(b)
    events = json.loads(Path(run.end_profiling()).read_text())
    kernels = Counter(e["args"]["op_name"] for e in events if e.get("cat") == "Node" and "op_name" in e.get("args", {}))
    assert kernels["MatMulNBits"] == 4
    assert not kernels.keys() & {"MatMul", "Gemm", "Conv", "DequantizeLinear", "Cast", "Transpose"}


def test_the_table_is_stored_once() -> None:
    model = quantized("bits=4")
    nodes = {node.op.name: node for node in model.walk() if node.op.name in ("GatherBlockQuantized", "MatMulNBits")}
    head = next(n for n in model.walk() if n.op.name == "MatMulNBits" and n.attr("N") == 50)
    assert head.inputs[1] is nodes["GatherBlockQuantized"].inputs[0]
    assert head.attr("bits") == 8
    floats, _ = layer()
    assert model.weight_bytes < floats.weight_bytes / 4


def test_weights_that_are_named_stay() -> None:
    model = quantized('bits=4,keep=[up,"w?"]')
    found = Counter(node.op.key for node in model.walk())
    assert found[PACKED] == 3  # gate, down and the table
    assert found["Conv"] + found["MatMul"] == 2
