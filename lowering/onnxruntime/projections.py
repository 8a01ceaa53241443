"""Natives of the rules for projections and their biases."""

from __future__ import annotations

import numpy as np

from ...ir.core import Value
from ...ir.rewrite import ABSENT, native
from ...ir.rewrite.instances import Pick, instance_for
from ...ir.tensor import Tensor
from ...ir.types import F32
from ...passes.fuse.mask_forms import form_of

_LOWEST = float(np.finfo(np.float32).min)
_MODERATE = 1e6  # biases of trained models stay far below
_BLOCK = 256  # rows of a weight that are widened to float64 at a time


@native
def is_moderate(b: Value) -> bool:
    """True for a constant of numbers that no score overflows for."""
    const = b.const
    return const is not None and b.dtype is F32 and bool((np.abs(const.read()) < _MODERATE).all())


@native
def leaves_keys(mask: Value | None) -> bool:
    """True for an additive mask under which the weights of every query sum to 1, and for none.

    Its elements are 0 and another number, above the lowest float, which the kernel takes for -inf: a row of that number
    alone adds the same to all scores.
    """
    if mask is None:
        return True
    found = form_of(mask)
    if found is None or mask.dtype is not F32:
        return False
    hidden = found[0].hidden
    return hidden is not None and hidden > _LOWEST


@native
def bias_through(b: Value, w: Value, c: Value) -> Tensor | None:
    """c + b w, for a bias b that passes through a product with w; None for numbers that might overflow on the way."""
    if b.const is None or w.const is None or c.const is None or not all(is_moderate(v) for v in (b, w, c)):
        return None
    bias, weight = b.const.read(), w.const.read()
    total = c.const.array().astype(np.float64)
    for start in range(0, len(bias), _BLOCK):
        rows = slice(start, start + _BLOCK)
        total += bias[rows].astype(np.float64) @ weight[rows].astype(np.float64)
    return Tensor.from_array(total.astype(np.float32), F32)


@native
def part(b: Value | None, start: int, count: int) -> object:
    """Elements of a constant vector; absent where there is none."""
    if b is None:
        return ABSENT
    if b.const is None or len(b.const.shape) != 1:
        return None
    return Tensor.from_array(b.const.array()[start : start + count].copy(), b.const.dtype)


@instance_for("value_bias_tiles")
def tiles_with_bias(pick: Pick) -> str:
    """Attention in tiles on values with a bias, and its projection."""
    heads, length, keys, width = pick(1, 2), pick(1, 3), pick(2, 5), pick(1, 3)
    size = 2 * heads
    numbers = ", ".join(f"{(7 * i % 11 - 5) / 4}" for i in range(size * width))
    return f"""
    graph @main(%q: f32[B,{length},{size}], %k: f32[B,{keys},{size}], %v: f32[B,{keys},{size}]) -> (%y) {{
      weight %b: f32[{size}] = [{", ".join(f"{i - 1.5}" for i in range(size))}]
      weight %w: f32[{size},{width}] = [{numbers}]
      weight %c: f32[{width}] = [{", ".join(f"{0.5 - i}" for i in range(width))}]
      %vb = Add(%v, %b)
      %a = com.microsoft::MultiHeadAttention(%q, %k, %vb) {{num_heads = {heads}, scale = {pick(0.5, 1.0)}}}
      %p = MatMul(%a, %w)
      %y = Add(%p, %c)
    }}""".replace("[B,", f"[{pick(1, 2)},")
