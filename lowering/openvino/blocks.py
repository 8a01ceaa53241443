"""Natives of the rule for weights in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.core import Value
from ...ir.rewrite import native
from ...ir.rewrite.instances import Pick, instance_for
from ...ir.tensor import Array, Tensor
from ...ir.types import F32
from .. import blocks  # noqa: F401 (its natives)


@native
def scale_or_one(s: Value) -> Tensor | None:
    """The scales, 1 in place of 0."""
    if s.const is None or s.dtype is not F32:
        return None
    return Tensor.from_array(_divisors(s.const.array()), F32)


@native
def zeros_of_floats(s: Value, m: Value) -> Tensor | None:
    """What is taken from the codes of each block [outputs, blocks], for minima [outputs, blocks, 1]."""
    if s.const is None or m.const is None or s.dtype is not F32 or m.dtype is not F32:
        return None
    scale = s.const.array()
    return Tensor.from_array((-m.const.array()[..., 0] / _divisors(scale)).astype(np.float32), F32)


def _divisors(scale: Array) -> Array:
    return np.where(scale == 0, np.float32(1), scale)


@instance_for("product_with_zeros_of_floats")
def product(pick: Pick) -> str:
    """A product with a matrix in blocks with minima."""
    rows, columns, block = pick(1, 3), pick(32, 64), pick(16, 32)
    count = columns // block
    numbers: dict[str, Any] = {
        "codes": [(5 * i + 3) % 16 for i in range(rows * columns)],
        "scale": [0.3 * (1 + i % 3) for i in range(rows * count)],
        "minimum": [0.3 * (i % 5 - 4) for i in range(rows * count)],
    }
    return f"""
    graph @main(%x: f32[{pick("2,", "2,3,", "")}{columns}]) -> (%y) {{
      weight %q: u4[{rows},{columns}] = {numbers["codes"]}
      weight %s: f32[{rows},{count}] = {numbers["scale"]}
      weight %m: f32[{rows},{count},1] = {numbers["minimum"]}
      weight %apart: i64[3] = [{rows}, {count}, {block}]
      weight %whole: i64[2] = [{rows}, {columns}]
      %d = DequantizeLinear(%q, %s) {{axis=1, block_size={block}}}
      %r = Reshape(%d, %apart)
      %a = Add(%r, %m)
      %w = Reshape(%a, %whole)
      %t = Transpose(%w) {{perm=[1, 0]}}
      %y = MatMul(%x, %t)
    }}"""
