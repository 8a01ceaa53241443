"""Operators of com.microsoft that models for onnxruntime hold, `-O2` for the cpu target among those that write them."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from .attention import heads_of
from .base import Given, Lacking, Operator, at, of_first
from .norms import layer_norm, rms_norm


def _fused_matmul(node: Any, given: Given) -> Any:
    a, b = given
    a = a.transpose(-1, -2) if node.attr("transA") else a
    b = b.transpose(-1, -2) if node.attr("transB") else b
    alpha = node.attr("alpha")
    return a @ b if alpha in (None, 1.0) else a @ b * alpha


def _fast_gelu(node: Any, given: Given) -> Any:
    bias = at(given, 1)
    return F.gelu(given[0] if bias is None else given[0] + bias, approximate="tanh")


def _quick_gelu(node: Any, given: Given) -> Any:
    return given[0] * torch.sigmoid(node.attr("alpha") * given[0])


def _skip(node: Any, given: Given) -> Any:
    """LayerNormalization of the sum of both operands and a bias; the sum is the fourth output."""
    scale, beta, bias = given[2], at(given, 3), at(given, 4)
    total = given[0] + given[1]
    total = total if bias is None else total + bias
    found = [*layer_norm(total, scale, beta, -1, node.attr("epsilon")), total]
    return found[: len(node.outputs)]


def _skip_rms(node: Any, given: Given) -> Any:
    bias = at(given, 3)
    total = given[0] + given[1]
    total = total if bias is None else total + bias
    found = [rms_norm(total, given[2], -1, node.attr("epsilon")), None, None, total]
    return found[: len(node.outputs)]


def _rms(node: Any, given: Given) -> Any:
    return rms_norm(given[0], given[1], node.attr("axis"), node.attr("epsilon"))


def _multi_head(node: Any, given: Given) -> Any:
    """Attention of operands [batch, length, heads * size], or keys and values [batch, heads, length, size]."""
    query, key, value, bias, padding, scores_bias, past_key, past_value = (at(given, i) for i in range(8))
    if key is None or value is None or padding is not None or past_key is not None or past_value is not None:
        raise Lacking("packed operands, padding or a past")
    heads = node.attr("num_heads")
    if bias is not None:
        if key.dim() == 4:
            raise Lacking("a bias of keys that are heads already")
        widths = [query.shape[-1], key.shape[-1], value.shape[-1]]
        query, key, value = (x + part for x, part in zip((query, key, value), bias.split(widths)))
    q, k, v = (x if x.dim() == 4 else heads_of(x, heads) for x in (query, key, value))
    scale = node.attr("scale") or 1 / math.sqrt(q.shape[-1])
    scores = q @ k.transpose(-1, -2) * scale
    scores = scores if scores_bias is None else scores + scores_bias
    if node.attr("unidirectional"):
        seen = torch.tril(torch.ones(scores.shape[-2:], dtype=torch.bool), scores.shape[-1] - scores.shape[-2])
        scores = scores.masked_fill(~seen, -torch.inf)
    y = (torch.softmax(scores, -1) @ v).transpose(1, 2)
    return y.reshape(y.shape[0], y.shape[1], -1)


TABLE: dict[str, Operator] = {
    "com.microsoft::MultiHeadAttention": Operator(_multi_head),
    "com.microsoft::FusedMatMul": Operator(_fused_matmul),
    "com.microsoft::Gelu": of_first(F.gelu),
    "com.microsoft::BiasGelu": Operator(lambda node, given: F.gelu(given[0] + given[1])),
    "com.microsoft::FastGelu": Operator(_fast_gelu),
    "com.microsoft::QuickGelu": Operator(_quick_gelu),
    "com.microsoft::SkipLayerNormalization": Operator(_skip),
    "com.microsoft::SkipSimplifiedLayerNormalization": Operator(_skip_rms),
    "SimplifiedLayerNormalization": Operator(_rms),
}
