"""Attention and rotary embeddings as ONNX defines them (operators of opset 23 and later)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from .base import Given, Lacking, Operator, at


def heads_of(x: Any, heads: int) -> Any:
    """[batch, heads, length, size] of [batch, length, heads * size]."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _attention(node: Any, given: Given) -> Any:
    q, k, v, mask, past_k, past_v = (at(given, i) for i in range(6))
    if at(given, 6) is not None:
        raise Lacking("nonpad_kv_seqlen")
    if any((node.attr(f"{side}_window_size") or -1) >= 0 for side in ("left", "right")):
        raise Lacking("windows")
    flat = q.dim() == 3
    if flat:
        q = heads_of(q, node.attr("q_num_heads"))
        k, v = heads_of(k, node.attr("kv_num_heads")), heads_of(v, node.attr("kv_num_heads"))
    before = 0
    if past_k is not None:
        before = past_k.shape[2]
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
    present = [k, v]
    group = q.shape[1] // k.shape[1]
    if group > 1:
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scale = node.attr("scale")
    root = math.sqrt(1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    scores = (q * root) @ (k * root).transpose(-1, -2)
    softcap = node.attr("softcap")
    capped = torch.tanh(scores / softcap) * softcap if softcap else scores
    masked = capped
    if mask is not None:
        missing = scores.shape[-1] - mask.shape[-1]
        if mask.dtype == torch.bool:
            masked = masked.masked_fill(F.pad(mask.to(torch.uint8), (0, missing)) == 0, -torch.inf)
        else:
            masked = masked + F.pad(mask, (0, missing), value=-torch.inf)
    if node.attr("is_causal"):
        seen = torch.tril(torch.ones(scores.shape[-2:], dtype=torch.bool), before)
        masked = masked.masked_fill(~seen, -torch.inf)
    weights = _softmax(masked)
    y = weights @ v
    if flat:
        y = y.transpose(1, 2).reshape(y.shape[0], y.shape[2], -1)
    stages = (scores, capped, masked, weights)
    found = [y, *present, stages[node.attr("qk_matmul_output_mode") or 0]]
    return found[: len(node.outputs)]


def _softmax(scores: Any) -> Any:
    """Rows that are hidden as a whole give zeros."""
    weights = torch.softmax(scores, -1)
    return torch.where(torch.isneginf(scores).all(-1, keepdim=True), torch.zeros((), dtype=scores.dtype), weights)


def _rotary(node: Any, given: Given) -> Any:
    """Pairs of a head's first `rotary_embedding_dim` elements turn by the angles of their position."""
    x, cos, sin, positions = given[0], given[1], given[2], at(given, 3)
    flat = x.dim() == 3
    if flat:
        x = heads_of(x, node.attr("num_heads"))
    size = node.attr("rotary_embedding_dim") or x.shape[-1]
    if positions is not None:
        cos, sin = cos[positions.to(torch.int64)], sin[positions.to(torch.int64)]
    cos, sin = cos[..., : size // 2].unsqueeze(1), sin[..., : size // 2].unsqueeze(1)
    turned = turn(x[..., :size], cos, sin, bool(node.attr("interleaved")))
    y = torch.cat([turned, x[..., size:]], -1)
    return y.transpose(1, 2).reshape(y.shape[0], y.shape[2], -1) if flat else y


def turn(x: Any, cos: Any, sin: Any, interleaved: bool) -> Any:
    """Pairs of the last axis of `x` turned: neighbours, or elements half an axis apart."""
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    real, imaginary = a * cos - b * sin, a * sin + b * cos
    if interleaved:
        return torch.stack([real, imaginary], -1).flatten(-2)
    return torch.cat([real, imaginary], -1)


TABLE: dict[str, Operator] = {
    "Attention": Operator(_attention),
    "RotaryEmbedding": Operator(_rotary),
}
