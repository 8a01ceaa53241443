"""Natives of quantized.rules: which axis scales and zero points run along, and shapes that fit DequantizeLinear."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.core import Value
from ...ir.rewrite import ABSENT, native
from ...ir.tensor import Tensor
from ...ir.types import F32, I32


@native
def axis_for(scale: Value, axis: int) -> int | None:
    """The axis that a vector of scales runs along; None for scales that are no vector and no number."""
    return axis if scale.rank is not None and scale.rank <= 1 else None


@native
def added(steps: Value | None, first: Value, second: Value) -> Any:
    """Integers that count in steps of two scales, a number and a number or vector for the last axis, as floats.

    Absent for none; None where one of them is no constant.
    """
    if steps is None:
        return ABSENT
    tensors = [value.const for value in (steps, first, second)]
    if any(tensor is None or tensor.dtype not in (I32, F32) for tensor in tensors):
        return None
    numbers, a, b = (np.asarray(tensor.array(), np.float64) for tensor in tensors if tensor is not None)
    if a.size != 1 or b.size not in (1, numbers.shape[-1] if numbers.shape else 1):
        return None
    return Tensor.from_array((numbers * (a.reshape(()) * b.reshape(-1))).reshape(numbers.shape), F32)


@native
def zeros_for(zero_point: Value | None, scale: Value) -> Any:
    """A zero point in the shape of its scale, as DequantizeLinear wants it; absent for none.

    None where it would have to be repeated and is no constant, or the zero point is one for each channel and the scale
    is not.
    """
    if zero_point is None:
        return ABSENT
    tensor, shape = zero_point.const, scale.shape
    if shape is None or zero_point.shape is None or not all(isinstance(dim, int) for dim in shape):
        return None
    if zero_point.shape == shape:
        return zero_point
    if tensor is None or tensor.size != 1:
        return None
    sizes = tuple(dim for dim in shape if isinstance(dim, int))
    return Tensor.from_array(np.full(sizes, tensor.item(), tensor.dtype.numpy), tensor.dtype)
