"""grouped-queries: the numbers stay, keys and values are multiplied once for each group, and where it keeps off."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from geoc.ir.core import Model
from geoc.ir.infer import infer_graph
from geoc.ir.tensor import Tensor
from geoc.ir.text import parse_model
from geoc.ir.types import F32
from geoc.lowering.onnx import model_bytes
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import parse
from geoc.passes.registry import Registry

LAYER = """graph @main(%x: f32[B,S,64], %m: f32[B,1,S,T], %c: f32[B,S,8], %s: f32[B,S,8], %pk: f32[B,2,P,16], %pv: f32[B,2,P,16]) -> (%y, %ks, %vs) {
  weight %wq: f32[64,96] = splat(1.0)
  weight %bq: f32[96] = splat(1.0)
  weight %wk: f32[64,32] = splat(1.0)
  weight %wv: f32[64,32] = splat(1.0)
  weight %wo: f32[96,48] = splat(1.0)
  %mq = MatMul(%x, %wq)
  %q = Add(%mq, %bq)
  %k = MatMul(%x, %wk)
  %v = MatMul(%x, %wv)
  %rq = RotaryEmbedding(%q, %c, %s) {num_heads=6}
  %rk = RotaryEmbedding(%k, %c, %s) {num_heads=2}
  %a, %ks, %vs = Attention(%rq, %rk, %v, %m, %pk, %pv) {q_num_heads=6, kv_num_heads=2}
  %y = MatMul(%a, %wo)
}"""


def model_of(text: str) -> Model:
    model = parse_model(f'geoc 1\nopset "" 23\n\n{text}')
    random = np.random.default_rng(0)
    for value in {v: None for node in model.graph for v in node.inputs if v is not None and v.const is not None}:
        assert value.const is not None
        if value.const.dtype is F32:
            value.const = Tensor.from_array(random.normal(size=value.const.shape).astype(np.float32) / 4)
    infer_graph(model.graph)
    return model


def changed(model: Model, passes: str = "grouped-queries") -> bool:
    """Run passes; True if there are as many heads of queries as of keys then."""
    run_pipeline(model, Registry().resolve(parse(passes)), Context())
    return any(n.op.key == "Attention" and n.attr("q_num_heads") == n.attr("kv_num_heads") for n in model.graph)


def outputs(model: Model, batch: int, length: int, past: int) -> list[np.ndarray]:
    random = np.random.default_rng(length)
    total = past + length
    mask = np.where(np.tri(length, total, past, dtype=bool), 0, -1e4).astype(np.float32)
    angles = random.normal(size=(batch, length, 8))
    feeds = {
        "x": random.normal(size=(batch, length, 64)), "m": np.broadcast_to(mask, (batch, 1, length, total)),
        "c": np.cos(angles), "s": np.sin(angles), "pk": random.normal(size=(batch, 2, past, 16)),
        "pv": random.normal(size=(batch, 2, past, 16)),
    }  # fmt: skip
    names = {name: feeds[name].astype(np.float32) for name in model.graph.input_names}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    run = onnxruntime.InferenceSession(model_bytes(model, max_opset=23, max_ir=13), options, ["CPUExecutionProvider"])
    return list(run.run(None, names))


def same(one: Model, other: Model) -> None:
    for sizes in ((1, 1, 5), (3, 1, 2), (2, 7, 0), (2, 3, 4)):
        for a, b in zip(outputs(one, *sizes), outputs(other, *sizes), strict=True):
            np.testing.assert_allclose(a, b, 1e-4, 1e-4)


@pytest.mark.parametrize(
    "edits",
    [
        (),
        ((", %m, %pk", ", none, %pk"),),
        (("%wq: f32[64,96]", "%wq: f32[96,64]"), ("%mq = MatMul(%x, %wq)", "%tq = Transpose(%wq) {perm=[1, 0]}\n  %mq = MatMul(%x, %tq)")),
        (("%rq = RotaryEmbedding(%q, %c, %s) {num_heads=6}\n", ""), ("Attention(%rq,", "Attention(%q,")),
    ],
)  # fmt: skip
def test_rows_of_a_group_are_the_heads(edits: tuple[tuple[str, str], ...]) -> None:
    text = LAYER
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    before, after = model_of(text), model_of(text)
    assert changed(after)
    same(before, after)


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "minimum"])
def test_matrices_in_blocks(kind: str) -> None:
    quantize = f"quantize-weights{{bits=4,block=16,least=1,grid=false,kind={kind}}}"
    before, after = model_of(LAYER), model_of(LAYER)
    changed(before, quantize)
    assert any(node.op.key == "DequantizeLinear" for node in before.graph)
    assert changed(after, f"{quantize},grouped-queries")
    same(before, after)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("q_num_heads=6, kv_num_heads=2", "q_num_heads=6, kv_num_heads=2, is_causal=1"),  # rows are no longer positions
        ("%m: f32[B,1,S,T]", "%m: f32[B,6,S,T]"),  # a mask for each head
        ("%m: f32[B,1,S,T]", "%m: f32[S,T]"),
        ("%q = Add(%mq, %bq)", "%n = Add(%mq, %bq)\n  %q = Tanh(%n)"),  # between the product and the heads
        ("%y = MatMul(%a, %wo)", "%z = MatMul(%a, %wo)\n  %y = Concat(%z, %a) {axis=2}"),  # heads are read elsewhere
        ("%y = MatMul(%a, %wo)", "%b = Neg(%a)\n  %y = MatMul(%b, %wo)"),
        ("%k = MatMul(%x, %wk)", "%kk = MatMul(%x, %wq)\n  %k = Slice(%kk, 0, 32, 2)"),  # the matrix is read elsewhere
        ("RotaryEmbedding(%q, %c, %s) {num_heads=6}", "RotaryEmbedding(%q, %c, %s) {num_heads=3}"),
    ],
)  # fmt: skip
def test_other_graphs_stay(old: str, new: str) -> None:
    assert old in LAYER
    text = LAYER.replace(old, new)
    if "Slice" in new:
        text = text.replace("Slice(%kk, 0, 32, 2)", "Slice(%kk, %from, %to, %two)").replace(
            "  weight %wo",
            "  weight %from: i64[1] = [0]\n  weight %to: i64[1] = [32]\n  weight %two: i64[1] = [2]\n  weight %wo",
        )
    assert not changed(model_of(text))
