"""Natives of limits.rules, and graphs that its rows refuse where `geoc rulecheck` does not make them up by itself."""

from __future__ import annotations

import numpy as np

from ...ir.core import Value
from ...ir.rewrite import native
from ...ir.rewrite.instances import Pick, instance_for


@native
def around(zero_point: Value | None) -> str | None:
    """Constant zero points in words, ``114`` or ``0 to 3``; None where they are computed."""
    if zero_point is None:
        return "0"
    if zero_point.const is None:
        return None
    points = np.asarray(zero_point.const.array()).astype(np.int64)
    low, high = (int(points.min()), int(points.max())) if points.size else (0, 0)
    return str(low) if low == high else f"{low} to {high}"


@instance_for("sequence")
def sequence_of_tensors(pick: Pick) -> str:
    """A sequence is handed on."""
    return f"""
    graph @main(%s: seq({pick("f32", "i64")}[2])) -> (%y) {{
      %y = Identity(%s)
    }}"""


@instance_for("sequence_result")
def branches_with_sequences(pick: Pick) -> str:
    """A choice between sequences."""
    return """
    graph @main(%c: bool[]) -> (%y) {
      %y: seq(f32[*]) = If(%c)
        with then_branch = () -> (%t) {
          %t = SequenceEmpty()
        }
        with else_branch = () -> (%e) {
          %e = SequenceEmpty()
        }
    }"""


@instance_for("strange_type")
def numbers_in_words(pick: Pick) -> str:
    """Strings that are read as numbers."""
    return f"""
    graph @main(%s: str[2]) -> (%y) {{
      %y = Cast(%s) {{to={pick(1, 7)}}}
    }}"""


@instance_for("strange_type_result")
def words_of_numbers(pick: Pick) -> str:
    """Numbers that are written as strings."""
    return f"""
    graph @main(%x: {pick("f32", "i64")}[2]) -> (%y) {{
      %y = Cast(%x) {{to=8}}
    }}"""


@instance_for("unsigned_dequantized")
def unsigned(pick: Pick) -> str:
    """Numbers of an unsigned type are taken back."""
    return f"""
    graph @main(%x: {pick("u8", "u4")}[2,3]) -> (%y) {{
      weight %s: f32[] = 0.5
      %y = DequantizeLinear(%x, %s)
    }}"""


@instance_for("wide_quantized")
def wide_steps(pick: Pick) -> str:
    """Numbers are quantized to 16 bits."""
    return f"""
    graph @main(%x: f32[2,3]) -> (%y) {{
      weight %s: f32[] = 0.5
      %y = QuantizeLinear(%x, %s) {{output_dtype={pick(5, 4)}}}
    }}"""


@instance_for("wide_dequantized")
def wide(pick: Pick) -> str:
    """Numbers of more than 8 bits are taken back, as a bias in the units of its product is."""
    return f"""
    graph @main(%x: {pick("i32", "i16", "u16")}[2,3]) -> (%y) {{
      weight %s: f32[] = 0.5
      %y = DequantizeLinear(%x, %s)
    }}"""


@instance_for("zero_point_unknown")
def computed_zero_point(pick: Pick) -> str:
    """The zero point is an input."""
    return f"""
    graph @main(%x: f32[2,3], %z: {pick("i8", "u8")}[]) -> (%y) {{
      weight %s: f32[] = 0.5
      %y = QuantizeLinear(%x, %s, %z)
    }}"""


@instance_for("reduce_axes")
def computed_axes(pick: Pick) -> str:
    """Axes are an input."""
    return f"""
    graph @main(%x: f32[2,3], %axes: i64[{pick(1, 2)}]) -> (%y) {{
      %y = {pick("ReduceSum", "ReduceMean", "ReduceL2")}(%x, %axes)
    }}"""


@instance_for("pool_indices")
def where_the_largest_are(pick: Pick) -> str:
    """Indices of the largest elements are returned."""
    return f"""
    graph @main(%x: f32[1,2,8,8]) -> (%y, %i) {{
      %y, %i = MaxPool(%x) {{kernel_shape=[2, {pick(2, 3)}]}}
    }}"""


@instance_for("norm_statistics")
def mean_and_deviation(pick: Pick) -> str:
    """What was found on the way is returned."""
    return f"""
    graph @main(%x: f32[2,4]) -> (%y, %{pick("m", "d")}) {{
      weight %s: f32[4] = splat(1)
      %y, %m, %d = LayerNormalization(%x, %s)
    }}"""


@instance_for("pool_window")
def large_window(pick: Pick) -> str:
    """A window over a whole picture."""
    return f"""
    graph @main(%x: f32[1,1,512,512]) -> (%y) {{
      %y = {pick("MaxPool", "AveragePool")}(%x) {{kernel_shape=[{pick(512, 317)}, 512]}}
    }}"""


@instance_for("attention_results")
def keys_come_back(pick: Pick) -> str:
    """Keys and values are returned as well."""
    return f"""
    graph @main(%q: f16[1,2,3,{pick(4, 8)}]) -> (%y, %ks) {{
      %y, %ks, %vs = Attention(%q, %q, %q)
    }}"""


@instance_for("resize_mode")
def cubic(pick: Pick) -> str:
    """Cubic interpolation."""
    return f"""
    graph @main(%x: f32[1,2,8,8]) -> (%y) {{
      weight %s: f32[4] = [1.0, 1.0, {pick("2.0", "0.5")}, 2.0]
      %y = Resize(%x, none, %s) {{mode="cubic"}}
    }}"""


@instance_for("scatter_reduction")
def scattered_sum(pick: Pick) -> str:
    """What is scattered is combined with what is there."""
    return f"""
    graph @main(%x: f32[4], %u: f32[2]) -> (%y) {{
      weight %i: i64[2,1] = [1, 3]
      %y = ScatterND(%x, %i, %u) {{reduction="{pick("add", "mul", "max")}"}}
    }}"""
