"""Quantization with straight-through gradients, so that models that carry Q and DQ can be trained.

Codes are held as floats that are whole numbers. Rounding passes the gradient on as if it were not there (Bengio et al.
2013, "Estimating or Propagating Gradients Through Stochastic Neurons"), saturation stops it.
"""

from __future__ import annotations

from typing import Any

import torch

from ....ir.types import F8E4M3FN, F8E5M2, DType
from ..weights import code_range
from .base import Given, Lacking, Operator, at, axis_of
from .products import convolve

_SMALL_FLOATS = {F8E4M3FN: torch.float8_e4m3fn, F8E5M2: torch.float8_e5m2}


def passing(x: Any, rounded: Any) -> Any:
    """`rounded` with the gradient of `x`."""
    return x + (rounded - x).detach()


def to_codes(x: Any, scale: Any, zero: Any, dtype: DType) -> Any:
    """saturate(round(x / scale) + zero), ties to even, as floats; `scale` and `zero` broadcast to `x`."""
    scaled = x / scale
    if dtype in _SMALL_FLOATS:
        most = torch.finfo(_SMALL_FLOATS[dtype]).max
        scaled = torch.clamp(scaled, -most, most)
        return passing(scaled, scaled.detach().to(_SMALL_FLOATS[dtype]).to(scaled.dtype))
    if not dtype.is_int:
        raise Lacking(f"codes of {dtype}")
    low, high = code_range(dtype)
    return torch.clamp(passing(scaled, torch.round(scaled)) + zero, low, high)


def spread(part: Any, x: Any, axis: int, block: int) -> Any:
    """A scale or zero point of a tensor, a channel or a block, so that it broadcasts to `x`."""
    if part.dim() == 0 or part.numel() == 1:
        return part.reshape(())
    axis = axis_of(axis, x.dim())
    if block:
        return part.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    return part.reshape([-1 if i == axis else 1 for i in range(x.dim())])


def _quantize(node: Any, given: Given) -> Any:
    x, scale, zero = given[0], given[1], at(given, 2)
    axis, block = node.attr("axis"), node.attr("block_size") or 0
    x = x.to(scale.dtype) if x.is_floating_point() else x.to(torch.float32)
    zero = torch.zeros(()) if zero is None else spread(zero, x, axis, block)
    return to_codes(x, spread(scale, x, axis, block), zero.to(scale.dtype), node.outputs[0].dtype)


def _dequantize(node: Any, given: Given) -> Any:
    x, scale, zero = given[0], given[1], at(given, 2)
    axis, block = node.attr("axis"), node.attr("block_size") or 0
    codes = x.to(torch.float64 if x.dtype in (torch.int32, torch.int64, torch.float64) else torch.float32)
    if zero is not None:
        codes = codes - spread(zero, x, axis, block).to(codes.dtype)
    wide = spread(scale, x, axis, block)
    return (codes * wide.to(codes.dtype)).to(scale.dtype)


def _dynamic(node: Any, given: Given) -> Any:
    """Codes u8 by the range of the operand, its scale and zero point; no gradient goes through these two."""
    x = given[0]
    plain = x.detach()
    low, high = torch.clamp(plain.min(), max=0), torch.clamp(plain.max(), min=0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = torch.clamp(torch.round(-low / scale), 0, 255)
    return [torch.clamp(passing(x / scale, torch.round(plain / scale)) + zero, 0, 255), scale, zero]


def _centred(codes: Any, zero: Any, shape: list[int] | None = None) -> Any:
    """Codes without their zero points, exact in float64."""
    codes = codes.to(torch.float64)
    if zero is None:
        return codes
    zero = zero.to(torch.float64)
    return codes - (zero.reshape(()) if zero.numel() == 1 else zero if shape is None else zero.reshape(shape))


def _matmul_integer(node: Any, given: Given) -> Any:
    a, b, a_zero, b_zero = (at(given, i) for i in range(4))
    rows = [-1, 1] if a_zero is not None and a_zero.dim() == 1 else None
    return _centred(a, a_zero, rows) @ _centred(b, b_zero)


def _conv_integer(node: Any, given: Given) -> Any:
    x, weight, x_zero, w_zero = (at(given, i) for i in range(4))
    shape = [-1, *[1] * (weight.dim() - 1)]
    return convolve(node, _centred(x, x_zero), _centred(weight, w_zero, shape), None)


def _coded(x: Any, scale: Any, zero: Any, node: Any) -> Any:
    return to_codes(x, scale, zero.to(x.dtype), node.outputs[0].dtype)


def _qlinear_matmul(node: Any, given: Given) -> Any:
    a, a_scale, a_zero, b, b_scale, b_zero, scale, zero = given
    product = _centred(a, a_zero) * a_scale @ (_centred(b, b_zero) * b_scale)
    return _coded(product, scale, zero, node)


def _qlinear_conv(node: Any, given: Given) -> Any:
    x, x_scale, x_zero, weight, w_scale, w_zero, scale, zero = given[:8]
    shape = [-1, *[1] * (weight.dim() - 1)]
    factor = w_scale.reshape(shape) if w_scale.numel() > 1 else w_scale
    bias = at(given, 8)
    bias = None if bias is None else bias.to(torch.float64) * x_scale * w_scale
    found = convolve(node, _centred(x, x_zero) * x_scale, _centred(weight, w_zero, shape) * factor, bias)
    return _coded(found, scale, zero, node)


TABLE: dict[str, Operator] = {
    "QuantizeLinear": Operator(_quantize),
    "DequantizeLinear": Operator(_dequantize),
    "DynamicQuantizeLinear": Operator(_dynamic),
    "MatMulInteger": Operator(_matmul_integer),
    "ConvInteger": Operator(_conv_integer),
    "QLinearMatMul": Operator(_qlinear_matmul),
    "QLinearConv": Operator(_qlinear_conv),
}
