"""Natives of the rules for quantized graphs."""

from __future__ import annotations

from ...ir.core import Value
from ...ir.rewrite import native
from ...ir.rewrite.instances import Pick, instance_for


@native
def is_zero(zero: Value | None) -> bool:
    """True for a zero point that is left out, or whose elements are all zero."""
    return zero is None or (zero.const is not None and not zero.const.array().any())


@instance_for("integer_product")
def codes_times_codes(pick: Pick) -> str:
    """A product with scales that are powers of two, so that floats are as exact as integers; with or without a bias."""
    rows, size, columns = pick(2, 3, 1), pick(2, 4, 3), pick(2, 3, 1)
    scales = pick("[]", f"[{columns}]")
    numbers = [(7 * i) % 128 - 64 for i in range(size * columns)]  # more saturates where sums have 16 bits
    steps = 0.5 if scales == "[]" else [0.5 / 2**i for i in range(columns)]
    code, middle = pick(("u8", 120), ("i8", -3))
    bias = pick(True, False)
    return f"""
graph @main(%x: f32[{pick(2, 1)},{rows},{size}]) -> (%y) {{
  weight %v: i8[{size},{columns}] = {numbers}
  weight %vs: f32{scales} = {steps}
  weight %b: f32[{columns}] = {[float(i - 1) for i in range(columns)]}
  weight %s: f32[] = 0.03125
  weight %o: {code}[] = {middle}
  %q = QuantizeLinear(%x, %s, %o)
  %d = DequantizeLinear(%q, %s, %o)
  %f = DequantizeLinear(%v, %vs)
  %{"m" if bias else "y"} = MatMul(%d, %f)
  {"%y = Add(%m, %b)" if bias else ""}
}}"""


@instance_for("integer_rows")
def rows_of_codes(pick: Pick) -> str:
    """Rows of a table, with or without a zero point that says nothing."""
    count, size = pick(2, 3, 5), pick(2, 3, 4)
    numbers = [(11 * i) % 255 - 127 for i in range(count * size)]
    zero = pick("", ", %z")
    place, position = pick(("", 0), ("3", [0, 1, -1]))
    return f"""
graph @main(%x: f32[2]) -> (%y, %n) {{
  weight %t: i8[{count},{size}] = {numbers}
  weight %s: f32[{count}] = {[0.5 / (i + 1) for i in range(count)]}
  weight %z: i8[{count}] = {[0] * count}
  weight %i: i64[{place}] = {position}
  %f = DequantizeLinear(%t, %s{zero}) {{axis=0}}
  %y = Gather(%f, %i)
  %n = Neg(%x)
}}"""
