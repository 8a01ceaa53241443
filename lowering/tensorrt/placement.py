"""Natives of placement.rules."""

from __future__ import annotations

import numpy as np

from ...ir.core import Value
from ...ir.rewrite import native
from ...ir.types import F16, F32

# Where 255 steps overflow, a number that was dequantized is infinite; bf16 has too few bits to tell 255 steps apart.
_LARGEST = {F32: float(np.finfo(np.float32).max) / 256, F16: 65504.0 / 256}
_PRODUCTS = frozenset(("Conv", "ConvTranspose", "MatMul", "Gemm"))


@native
def is_positive(scale: Value) -> bool:
    """True if all scales are finite and above 0."""
    tensor = scale.const
    if tensor is None:
        return False
    scales = np.asarray(tensor.array())
    return bool((np.isfinite(scales) & (scales > 0)).all())


@native
def keeps_steps(scale: Value) -> bool:
    """True if whole steps of 8 bits, times the scale and divided by it again, are the same whole numbers."""
    tensor = scale.const
    largest = None if tensor is None else _LARGEST.get(tensor.dtype)
    if tensor is None or largest is None or not is_positive(scale):
        return False
    scales = np.asarray(tensor.array())
    return bool(((scales >= np.finfo(tensor.dtype.numpy).tiny) & (scales < largest)).all())


@native
def is_multiplied(value: Value) -> bool:
    """True if a product or a convolution reads it."""
    return any(user.op.name in _PRODUCTS for user, _ in value.uses)
