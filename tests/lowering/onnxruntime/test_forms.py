"""What ort-forms writes, run by onnxruntime at its default level and compared with numpy; and that it follows the table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.lowering.onnx import model_bytes
from geoc.lowering.targets import get_target
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import parse
from geoc.passes.registry import Registry

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
LOWEST = float(np.finfo(np.float32).min)
HEADS, SIZE = 4, 8
FORMS = get_target("cpu").pipeline["insert"][0]["pass"]


def lowered(text: str) -> Model:
    model = parse_model(f'geoc 1\nopset "" 24\n\n{text}')
    for root in model.roots():
        infer_graph(root)
    run_pipeline(model, Registry(get_target("cpu").rule_sets).resolve(parse(FORMS)), Context())
    return model


def session(model: Model, optimized: Path | None = None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    target = get_target("cpu")
    data = model_bytes(model, max_opset=target.max_opset, max_ir=target.max_ir)
    return onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])


def counts(model: Model) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in model.walk():
        found[node.op.key] = found.get(node.op.key, 0) + 1
    return found


def softmax_product(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """Attention in float64 on [B, H, S, D]; heads of k and v are repeated; a row without any key gives zeros."""
    groups = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, groups, 1), np.repeat(v, groups, 1)
    scores = q.astype(np.float64) @ k.astype(np.float64).swapaxes(2, 3) / np.sqrt(q.shape[-1])
    scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else np.maximum(scores + mask, LOWEST)
    top = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = weights.sum(-1, keepdims=True)
    return weights / np.where(total > 0, total, 1) @ v


ATTENTION = """graph @main(%q: f32[B,S,4,8], %k: f32[B,T,2,8], %v: f32[B,T,2,8], %m: MASK) -> (%y) {
  %qt = Transpose(%q) {perm=[0, 2, 1, 3]}
  %kt = Transpose(%k) {perm=[0, 2, 1, 3]}
  %vt = Transpose(%v) {perm=[0, 2, 1, 3]}
  %o = Attention(%qt, %kt, %vt, %m)
  %y = Transpose(%o) {perm=[0, 2, 1, 3]}
}"""
MASKS = ["[B,1,1,T]", "[1,1,1,T]", "[1,T]", "[B,1,S,T]", "[1,4,S,T]", "[S,T]", "[B,4,1,T]", "[4,1,T]"]


@pytest.mark.parametrize("dtype", ["f32", "bool"])
@pytest.mark.parametrize("shape", MASKS)
def test_attention_takes_every_mask(shape: str, dtype: str) -> None:
    model = lowered(ATTENTION.replace("MASK", dtype + shape))
    assert counts(model).get("Transpose", 0) == 0
    run = session(model)
    for sizes in ({"B": 2, "S": 3, "T": 5}, {"B": 1, "S": 1, "T": 1}, {"B": 3, "S": 4, "T": 4}):
        random = np.random.default_rng(sizes["S"])
        b, s, t = sizes["B"], sizes["S"], sizes["T"]
        q, k, v = (random.normal(size=(b, n, h, SIZE)).astype(np.float32) for n, h in ((s, 4), (t, 2), (t, 2)))
        dims = [sizes[d] if d in sizes else int(d) for d in shape[1:-1].split(",")]
        mask = random.normal(size=dims).astype(np.float32) if dtype == "f32" else random.random(dims) < 0.7
        found = run.run(None, {"q": q, "k": k, "v": v, "m": mask})[0]
        heads = [np.swapaxes(x, 1, 2) for x in (q, k, v)]
        wanted = np.swapaxes(softmax_product(*heads, mask), 1, 2)
        np.testing.assert_allclose(found, wanted, 1e-5, 1e-5)


@pytest.mark.parametrize("masked", ["Where(%drop, %low, %zero)", "Where(%keep, %zero, %low)", "Mul(%one, %low)"])
def test_a_row_of_lowest_floats_gives_the_mean(masked: str) -> None:
    """As softmax of equal scores does; the kernel by itself gives zeros."""
    text = f"""graph @main(%q: f32[B,S,4,8], %one: f32[B,1,1,S]) -> (%y) {{
  weight %low: f32[] = {LOWEST!r}
  weight %zero: f32[] = 0.0
  %drop = Greater(%one, %zero)
  %keep = Not(%drop)
  %m = {masked}
  %t = Transpose(%q) {{perm=[0, 2, 1, 3]}}
  %o = Attention(%t, %t, %t, %m)
  %y = Transpose(%o) {{perm=[0, 2, 1, 3]}}
}}"""
    q = np.random.default_rng(0).normal(size=(2, 5, HEADS, SIZE)).astype(np.float32)
    drop = np.zeros((2, 1, 1, 5), np.float32)
    drop[1] = 1
    drop[0, ..., 3:] = 1
    found = session(lowered(text)).run(None, {"q": q, "one": drop})[0]
    np.testing.assert_allclose(found[1], np.broadcast_to(q[1].mean(0), found[1].shape), 1e-5, 1e-5)
    heads = np.swapaxes(q, 1, 2)
    wanted = softmax_product(heads, heads, heads, np.where(drop > 0, LOWEST, 0.0))
    np.testing.assert_allclose(found[0], np.swapaxes(wanted, 1, 2)[0], 1e-5, 1e-5)


def test_a_cache_grows_inside_the_operator() -> None:
    text = """graph @main(%q: f32[B,S,4,8], %k: f32[B,S,2,8], %v: f32[B,S,2,8], %pk: f32[B,2,P,8], %pv: f32[B,2,P,8], %m: f32[B,1,1,P+S]) -> (%y, %nk, %nv) {
  %qt = Transpose(%q) {perm=[0, 2, 1, 3]}
  %kt = Transpose(%k) {perm=[0, 2, 1, 3]}
  %vt = Transpose(%v) {perm=[0, 2, 1, 3]}
  %nk = Concat(%pk, %kt) {axis=2}
  %nv = Concat(%pv, %vt) {axis=2}
  %o = Attention(%qt, %nk, %nv, %m)
  %y = Transpose(%o) {perm=[0, 2, 1, 3]}
}"""
    model = lowered(text)
    assert counts(model)["Attention"] == 1
    assert "Transpose" not in counts(model)
    run = session(model)
    for b, s, p in ((2, 3, 4), (1, 1, 7), (2, 2, 0)):
        random = np.random.default_rng(p)
        q = random.normal(size=(b, s, 4, 8)).astype(np.float32)
        k, v = (random.normal(size=(b, s, 2, 8)).astype(np.float32) for _ in "kv")
        pk, pv = (random.normal(size=(b, 2, p, 8)).astype(np.float32) for _ in "kv")
        mask = random.normal(size=(b, 1, 1, p + s)).astype(np.float32)
        y, nk, nv = run.run(None, {"q": q, "k": k, "v": v, "pk": pk, "pv": pv, "m": mask})
        keys, values = (np.concatenate([old, np.swapaxes(new, 1, 2)], 2) for old, new in ((pk, k), (pv, v)))
        np.testing.assert_array_equal(nk, keys)
        np.testing.assert_array_equal(nv, values)
        wanted = np.swapaxes(softmax_product(np.swapaxes(q, 1, 2), keys, values, mask), 1, 2)
        np.testing.assert_allclose(y, wanted, 1e-5, 1e-5)


LAYER = """graph @main(%x: f32[B,S,4]) -> (%y) {
  weight %w: f32[4,4] = [1.0, 2.0, 0.5, -1.0, 0.0, 3.0, 1.0, 1.0, 2.0, -2.0, 0.5, 0.25, 1.0, 0.0, 1.0, -0.5]
  weight %b: f32[4] = [0.5, 0.0, 1.0, 2.0]
  %m = MatMul(%x, %w)
  %p = Add(%m, %b)
  %a = Add(%p, %x)
  %n = LayerNormalization(%a, %b, %b)
  %m2 = MatMul(%n, %w)
  %p2 = Add(%m2, %b)
  %g = Gelu(%p2)
  %m3 = MatMul(%g, %w)
  %a3 = Add(%m3, %n)
  %y = LayerNormalization(%a3, %b, %b)
}"""


def test_onnxruntime_leaves_the_sum_before_a_norm_alone(tmp_path: Path) -> None:
    import onnx

    plain = parse_model(f'geoc 1\nopset "" 24\n\n{LAYER}')
    infer_graph(plain.graph)
    made = lowered(LAYER)
    found = {}
    for name, model in (("plain", plain), ("made", made)):
        run = session(model, tmp_path / name)
        found[name] = {n.op_type for n in onnx.load(tmp_path / name).graph.node}
        x = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
        found[name + " y"] = run.run(None, {"x": x})[0]
    assert "SkipLayerNormalization" in found["plain"], "onnxruntime no longer fuses: add_norm has no reason any more"
    assert "SkipLayerNormalization" not in found["made"]
    np.testing.assert_allclose(found["made y"], found["plain y"], 1e-5, 1e-5)


def test_projections_stay_as_onnxruntime_fuses_them() -> None:
    assert counts(lowered(LAYER)) == {"MatMul": 3, "Sum": 2, "Add": 2, "LayerNormalization": 2, "Gelu": 1}


# What each rule writes, as the table calls it; by operator, and only shapes that begin so.
CHOSEN = {
    "Attention": "3-D", "Attention, float mask": "3-D", "Attention, bool mask": "3-D", "Attention, causal": "3-D",
    "Attention with past": "3-D with past", "RotaryEmbedding": "3-D",
    "Product of few rows": "Conv", "Products of the same row": "Split",
    "Projection": "plain", "Projection and Add": "plain",
    "Add and LayerNormalization": "Sum, LayerNormalization", "Mish": "quotient", "GroupNormalization": "BatchNormalization",
    "Gelu": "Gelu", "Gelu tanh": "Gelu", "Swish": "plain", "Swish 1.702": "plain", "RMSNormalization": "RMSNormalization",
    "LayerNormalization": "LayerNormalization", "HardSwish": "HardSwish", "HardSigmoid": "HardSigmoid",
    "Attention and its projections": "biases folded", "Gate": "two products",
}  # fmt: skip
RECORDS: list[dict[str, Any]] = json.loads((ROOT / "lowering/onnxruntime/measured.json").read_text())["rows"]


@pytest.mark.parametrize("op", CHOSEN)
def test_the_choice_follows_the_table(op: str) -> None:
    mine = [r for r in RECORDS if r["op"] == op and r["threads"] == 1]
    forms = {form: [r["ratio"] for r in mine if r["form"] == form] for form in dict.fromkeys(r["form"] for r in mine)}
    chosen = forms.pop(CHOSEN[op])
    assert np.median(chosen) <= 1.03
    for form, ratios in forms.items():
        assert np.median(chosen) <= np.median(ratios) + 0.03, form


def test_the_table_is_what_was_recorded() -> None:
    sys.path.insert(0, str(ROOT / "tests" / "bench"))
    try:
        import forms
    finally:
        sys.path.pop(0)
    assert (ROOT / "docs" / "forms.md").read_text(encoding="utf-8") == forms.rendered(forms.read_records())
