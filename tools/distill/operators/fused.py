"""Operators of com.microsoft that models for onnxruntime hold, `-O2` for the cpu target among those that write them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .base import Given, Operator, at, of_first
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


TABLE: dict[str, Operator] = {
    "com.microsoft::FusedMatMul": Operator(_fused_matmul),
    "com.microsoft::Gelu": of_first(F.gelu),
    "com.microsoft::BiasGelu": Operator(lambda node, given: F.gelu(given[0] + given[1])),
    "com.microsoft::FastGelu": Operator(_fast_gelu),
    "com.microsoft::QuickGelu": Operator(_quick_gelu),
    "com.microsoft::SkipLayerNormalization": Operator(_skip),
    "com.microsoft::SkipSimplifiedLayerNormalization": Operator(_skip_rms),
    "SimplifiedLayerNormalization": Operator(_rms),
}
