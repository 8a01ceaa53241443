"""A decoder's layer with a cache, its embedding and its head, and what it computes: for tests of the forms of its products."""

from __future__ import annotations

from typing import Any

import numpy as np

from geoc.ir.core import Model
from geoc.ir.infer import infer_graph
from geoc.ir.tensor import Tensor
from geoc.ir.text import parse_model
from geoc.ir.types import F32

HEADS = 2


def layer(size: int, wide: int, from_ids: bool) -> tuple[Model, dict[str, Any]]:
    """The layer with heads of `size` and an inner size of `wide`, with random weights, and these by name.

    It reads identifiers of the rows of its table, or the rows themselves.
    """
    model = parse_model(f'geoc 1\nopset "" 24\n\n{_text(size, wide, from_ids)}')
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
    """The layer of rows in float64."""
    w = {name: array.astype(np.float64) for name, array in w.items()}
    x = x.astype(np.float64)
    size = x.shape[2] // HEADS

    def heads(name: str) -> Any:
        return (x @ w[f"w{name}"] + w[f"b{name}"]).reshape(*x.shape[:2], HEADS, size).swapaxes(1, 2)

    q, keys, values = heads("q"), np.concatenate([pk, heads("k")], 2), np.concatenate([pv, heads("v")], 2)
    scores = q @ keys.swapaxes(2, 3) / np.sqrt(size)
    parts = np.exp(scores - scores.max(-1, keepdims=True))
    h = (parts / parts.sum(-1, keepdims=True) @ values).swapaxes(1, 2).reshape(x.shape)
    d = (h @ w["up"] / (1 + np.exp(-(h @ w["gate"])))) @ w["down"]
    return [d @ w["table"].T, keys, values]


def _text(size: int, wide: int, from_ids: bool) -> str:
    all_heads = HEADS * size
    rows = "%ids: i64[B,S]" if from_ids else f"%x: f32[B,S,{all_heads}]"
    looked_up = "\n  %x = Gather(%table, %ids)" if from_ids else ""
    return f"""graph @main({rows}, %pk: f32[B,2,P,{size}], %pv: f32[B,2,P,{size}]) -> (%y, %nk, %nv) {{
  weight %wq: f32[{all_heads},{all_heads}] = splat(1.0)
  weight %wk: f32[{all_heads},{all_heads}] = splat(2.0)
  weight %wv: f32[{all_heads},{all_heads}] = splat(3.0)
  weight %bq: f32[{all_heads}] = splat(4.0)
  weight %bk: f32[{all_heads}] = splat(5.0)
  weight %bv: f32[{all_heads}] = splat(6.0)
  weight %up: f32[{all_heads},{wide}] = splat(7.0)
  weight %gate: f32[{all_heads},{wide}] = splat(8.0)
  weight %down: f32[{wide},{all_heads}] = splat(9.0)
  weight %table: f32[50,{all_heads}] = splat(10.0)
  weight %heads: i64[4] = [0, 0, {HEADS}, {size}]
  weight %rows: i64[3] = [0, 0, {all_heads}]{looked_up}
  %mq = MatMul(%x, %wq)
  %mk = MatMul(%x, %wk)
  %mv = MatMul(%x, %wv)
  %aq = Add(%mq, %bq)
  %ak = Add(%bk, %mk)
  %av = Add(%mv, %bv)
  %hq = Reshape(%aq, %heads)
  %hk = Reshape(%ak, %heads)
  %hv = Reshape(%av, %heads)
  %q = Transpose(%hq) {{perm=[0, 2, 1, 3]}}
  %k = Transpose(%hk) {{perm=[0, 2, 1, 3]}}
  %v = Transpose(%hv) {{perm=[0, 2, 1, 3]}}
  %nk = Concat(%pk, %k) {{axis=2}}
  %nv = Concat(%pv, %v) {{axis=2}}
  %o = Attention(%q, %nk, %nv)
  %t = Transpose(%o) {{perm=[0, 2, 1, 3]}}
  %h = Reshape(%t, %rows)
  %g = MatMul(%h, %gate)
  %s = Sigmoid(%g)
  %u = MatMul(%h, %up)
  %m = Mul(%s, %u)
  %d = MatMul(%m, %down)
  %tt = Transpose(%table) {{perm=[1, 0]}}
  %y = MatMul(%d, %tt)
}}"""
