"""What ort-tokens writes: that onnxruntime makes blocked convolutions of it, and that the numbers are those of the product."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.lowering.onnx import model_bytes
from geoc.lowering.targets import get_target
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import parse
from geoc.passes.registry import Registry

from .cached_layer import HEADS, layer, wanted

SIZE, WIDE = 16, 80
STEPS = ",".join(edit["pass"] for edit in get_target("cpu-avx2").pipeline["insert"])


def test_a_layer_with_a_cache_in_blocked_convolutions(tmp_path: Path) -> None:
    model, weights = layer(SIZE, WIDE, from_ids=False)
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
