"""Normalizations; BatchNormalization in the form for inference, with the statistics of the graph."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .base import Given, Lacking, Operator, at, axis_of


def _batch_norm(node: Any, given: Given) -> Any:
    if node.attr("training_mode"):
        raise Lacking("training_mode=1: statistics of a batch")
    x, scale, bias, mean, variance = given
    shape = [-1 if axis == 1 else 1 for axis in range(max(x.dim(), 2))]
    factor = scale / torch.sqrt(variance + node.attr("epsilon"))
    return x * factor.reshape(shape).to(x.dtype) + (bias - mean * factor).reshape(shape).to(x.dtype)


def layer_norm(x: Any, scale: Any, bias: Any, axis: int, epsilon: float) -> list[Any]:
    """The result, the means and the inverse deviations, over the axes from `axis` on; in float32 or wider."""
    axes = list(range(axis_of(axis, x.dim()), x.dim()))
    wide = x.to(torch.float32) if x.dtype in (torch.float16, torch.bfloat16) else x
    mean = torch.mean(wide, axes, keepdim=True)
    centred = wide - mean
    inverse = torch.rsqrt(torch.mean(centred * centred, axes, keepdim=True) + epsilon)
    result = (centred * inverse).to(x.dtype) * scale
    return [result if bias is None else result + bias, mean, inverse]


def rms_norm(x: Any, scale: Any, axis: int, epsilon: float) -> Any:
    """x / sqrt(mean(x^2) + epsilon) * scale over the axes from `axis` on; in float32 or wider."""
    axes = list(range(axis_of(axis, x.dim()), x.dim()))
    wide = x.to(torch.float32) if x.dtype in (torch.float16, torch.bfloat16) else x
    inverse = torch.rsqrt(torch.mean(wide * wide, axes, keepdim=True) + epsilon)
    return (wide * inverse).to(scale.dtype) * scale


def _layer_norm(node: Any, given: Given) -> Any:
    x, scale, bias = given[0], given[1], at(given, 2)
    axis = axis_of(node.attr("axis"), x.dim())
    plain = tuple(scale.shape) == tuple(x.shape[axis:]) and (bias is None or bias.shape == scale.shape)
    if len(node.outputs) == 1 and plain:
        return F.layer_norm(x, tuple(x.shape[axis:]), scale, bias, node.attr("epsilon"))
    return layer_norm(x, scale, bias, axis, node.attr("epsilon"))[: len(node.outputs)]


def _instance_norm(node: Any, given: Given) -> Any:
    x, scale, bias = given
    return _grouped(x, x.shape[1], node.attr("epsilon"), scale, bias)


def _grouped(x: Any, groups: int, epsilon: float, scale: Any, bias: Any) -> Any:
    """Normalized over each group of channels and all spatial axes; scale and bias by channel, or by group."""
    parts = x.reshape(x.shape[0], groups, -1)
    mean = torch.mean(parts, 2, keepdim=True)
    variance = torch.mean((parts - mean) ** 2, 2, keepdim=True)
    found = ((parts - mean) * torch.rsqrt(variance + epsilon)).reshape(x.shape)
    repeats = x.shape[1] // scale.shape[0]
    shape = [1, -1, *[1] * (x.dim() - 2)]
    by_channel = (part.repeat_interleave(repeats).reshape(shape) for part in (scale, bias))
    return found * next(by_channel) + next(by_channel)


def _group_norm(node: Any, given: Given) -> Any:
    return _grouped(given[0], node.attr("num_groups"), node.attr("epsilon"), given[1], given[2])


def _lp_norm(node: Any, given: Given) -> Any:
    x, axis = given[0], node.attr("axis")
    size = torch.linalg.vector_norm(x, node.attr("p"), axis, keepdim=True)
    return torch.where(size == 0, torch.zeros((), dtype=x.dtype), x / torch.where(size == 0, 1.0, size))


def _mean_variance(node: Any, given: Given) -> Any:
    x, axes = given[0], list(node.attr("axes"))
    mean = torch.mean(x, axes, keepdim=True)
    deviation = torch.sqrt(torch.mean((x - mean) ** 2, axes, keepdim=True))
    return (x - mean) / (deviation + 1e-9)


def _lrn(node: Any, given: Given) -> Any:
    """The channels from c - floor((size-1)/2) to c + ceil((size-1)/2) count, those at the ends fewer."""
    x, size = given[0], node.attr("size")
    square = (x * x).movedim(1, -1)
    before = (size - 1) // 2
    summed = F.pad(square, (before, size - 1 - before)).unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    return x / (node.attr("bias") + node.attr("alpha") / size * summed) ** node.attr("beta")


TABLE: dict[str, Operator] = {
    "BatchNormalization": Operator(_batch_norm),
    "LayerNormalization": Operator(_layer_norm),
    "RMSNormalization": Operator(
        lambda node, given: rms_norm(given[0], given[1], node.attr("axis"), node.attr("epsilon"))
    ),
    "InstanceNormalization": Operator(_instance_norm),
    "GroupNormalization": Operator(_group_norm),
    "LpNormalization": Operator(_lp_norm),
    "MeanVarianceNormalization": Operator(_mean_variance),
    "LRN": Operator(_lrn),
}
