"""What ort-tokens writes: that onnxruntime makes blocked convolutions of it, and that the numbers are those of the product."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
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
from geoc.passes.pipelines import parse
from geoc.passes.registry import Registry

HEADS, SIZE, WIDE = 2, 16, 80
STEPS = ",".join(edit["pass"] for edit in get_target("cpu-avx2").pipeline["insert"])
LAYER = """graph @main(%x: f32[B,S,32], %pk: f32[B,2,P,16], %pv: f32[B,2,P,16]) -> (%y, %nk, %nv) {
  weight %wq: f32[32,32] = splat(1.0)
  weight %wk: f32[32,32] = splat(2.0)
  weight %wv: f32[32,32] = splat(3.0)
  weight %bq: f32[32] = splat(4.0)
  weight %bk: f32[32] = splat(5.0)
  weight %bv: f32[32] = splat(6.0)
  weight %up: f32[32,80] = splat(7.0)
  weight %gate: f32[32,80] = splat(8.0)
  weight %down: f32[80,32] = splat(9.0)
  weight %table: f32[50,32] = splat(10.0)
  weight %heads: i64[4] = [0, 0, 2, 16]
  weight %rows: i64[3] = [0, 0, 32]
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


def wanted(w: dict[str, Any], x: Any, pk: Any, pv: Any) -> list[Any]:
    """The layer in float64."""
    w = {name: array.astype(np.float64) for name, array in w.items()}

    def heads(name: str) -> Any:
        made = x.astype(np.float64) @ w[f"w{name}"] + w[f"b{name}"]
        return made.reshape(*x.shape[:2], HEADS, SIZE).swapaxes(1, 2)

    q, keys, values = heads("q"), np.concatenate([pk, heads("k")], 2), np.concatenate([pv, heads("v")], 2)
    scores = q @ keys.swapaxes(2, 3) / np.sqrt(SIZE)
    parts = np.exp(scores - scores.max(-1, keepdims=True))
    h = (parts / parts.sum(-1, keepdims=True) @ values).swapaxes(1, 2).reshape(x.shape)
    d = (h @ w["up"] / (1 + np.exp(-(h @ w["gate"])))) @ w["down"]
    return [d @ w["table"].T, keys, values]


def test_a_layer_with_a_cache_in_blocked_convolutions(tmp_path: Path) -> None:
    model, weights = layer()
    run_pipeline(model, Registry(get_target("cpu").rule_sets).resolve(parse(STEPS)), Context())
    found = Counter(node.op.key for node in model.walk())
    # Queries, keys and values are one product, gate and up another; the other two are down and the table.
    assert (found["Conv"], found["MatMul"], found["Add"], found["Split"]) == (4, 0, 0, 2)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    target = get_target("cpu")
    data = model_bytes(model, max_opset=target.max_opset, max_ir=target.max_ir)
    run = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    kept = Counter((n.domain, n.op_type) for n in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert kept["com.microsoft.nchwc", "Conv"] == 4, "without blocks of channels the form has no reason"
    assert kept["", "Transpose"] == 0, "the Transposes are part of the reordering"

    for batch, length, past in ((1, 1, 5), (3, 1, 2), (2, 7, 0)):
        random = np.random.default_rng(length)
        x = random.normal(size=(batch, length, HEADS * SIZE)).astype(np.float32)
        pk, pv = (random.normal(size=(batch, HEADS, past, SIZE)).astype(np.float32) for _ in "kv")
        for a, b in zip(run.run(None, {"x": x, "pk": pk, "pv": pv}), wanted(weights, x, pk, pv), strict=True):
            np.testing.assert_allclose(a, b, 1e-4, 1e-4)


@pytest.mark.parametrize("inputs", [3072, 3088])
def test_matrices_with_many_inputs_stay_products(inputs: int) -> None:
    """With many rows, as in a prompt, a convolution of many channels is slow."""
    text = f"""graph @main(%r: f32[B,S,{inputs}], %pk: f32[B,2,P,{inputs // 2}]) -> (%y, %ks, %vs) {{
  weight %w: f32[{inputs},16] = splat(0.5)
  %o, %ks, %vs = Attention(%r, %r, %r, none, %pk, %pk) {{kv_num_heads=2, q_num_heads=2}}
  %y = MatMul(%o, %w)
}}"""
    model = parse_model(f'geoc 1\nopset "" 24\n\n{text}')
    infer_graph(model.graph)
    run_pipeline(model, Registry(get_target("cpu").rule_sets).resolve(parse(STEPS)), Context())
    ops = {node.op.key for node in model.walk()}
    assert ("Conv" in ops, "MatMul" in ops) == (inputs <= 3072, inputs > 3072)
