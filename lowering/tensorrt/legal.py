"""Natives of the rules for what TensorRT refuses."""

from __future__ import annotations

import math

import numpy as np

from ...ir.core import Value
from ...ir.dims import DimLike
from ...ir.evaluate import DeferredTensor
from ...ir.rewrite import native
from ...ir.rewrite.instances import Pick, instance_for
from ...ir.tensor import Array, Tensor
from ...ir.types import I8
from .. import masks  # noqa: F401 (its natives)

_CENTRE = 128  # of u8


@native
def scale_of(scale: float | None, size: DimLike) -> float | None:
    """The factor of the scores of Attention, 1 / sqrt(size of a head) by default; None where that is unknown."""
    if scale is not None:
        return scale
    return 1.0 / math.sqrt(size) if isinstance(size, int) else None


@native
def window_covers(kernel: tuple[int, ...], height: DimLike, width: DimLike, pads: tuple[int, ...] | None) -> bool:
    """True if a window without padding is as high and as wide as what it moves over, or more so."""
    sizes = zip(kernel, (height, width))
    return not any(pads or ()) and all(isinstance(size, int) and k >= size for k, size in sizes)


@native
def centre(zero_point: Value) -> Tensor | None:
    """Zeros of i8 in place of a u8 zero point that is 128 everywhere; None for another one."""
    tensor = zero_point.const
    if tensor is None or not np.all(np.asarray(tensor.array()) == _CENTRE):
        return None
    return Tensor.from_array(np.zeros(tensor.shape, np.int8))


@native
def less_128(weights: Value) -> Tensor | None:
    """u8 weights less 128, as i8; computed when they are read."""
    tensor = weights.const
    if tensor is None:
        return None
    return DeferredTensor(I8, tensor.shape, tensor, "less 128 as i8", _less_128, elementwise=True)


def _less_128(array: Array) -> Array:
    return (np.asarray(array, np.int16) - _CENTRE).astype(np.int8)


@instance_for("attention_heads_apart_past")
def cached(pick: Pick) -> str:
    """Queries, keys and values with all heads in a row, behind a cache; keys of their own or shared, masked or not."""
    heads, shared = pick((4, 2), (2, 2), (3, 1))
    batch, length, past, size = pick(2, 1), pick(3, 1), pick(5, 2), 4
    mask = pick("%m", "none")
    row, cache = f"f32[{batch},{length},", f"f32[{batch},{shared},{past},{size}]"
    new = f"%q: {row}{heads * size}], %k: {row}{shared * size}], %v: {row}{shared * size}]"
    seen = f"%m: f32[{length},{past + length}], %pk: {cache}, %pv: {cache}"
    return f"""
graph @main({new}, {seen}) -> (%y, %ks, %vs, %n) {{
  %y, %ks, %vs = Attention(%q, %k, %v, {mask}, %pk, %pv) {{q_num_heads={heads}, kv_num_heads={shared}}}
  %n = Neg(%m)
}}"""


@instance_for("quantize_around_zero")
def activations(pick: Pick) -> str:
    """Numbers that are quantized and taken back, with one scale or one for each column."""
    scale, zero, axis = pick(
        ("f32[] = 0.05", "u8[] = 128", ""), ("f32[3] = [0.05, 2.0, 0.5]", "u8[3] = [128, 128, 128]", " {axis=1}")
    )
    return f"""
    graph @main(%x: f32[2,3]) -> (%y) {{
      weight %s: {scale}
      weight %z: {zero}
      %q = QuantizeLinear(%x, %s, %z){axis}
      %y = DequantizeLinear(%q, %s, %z){axis}
    }}"""


@instance_for("weights_around_zero")
def weights(pick: Pick) -> str:
    """Weights of u8, by tensor, by column and by block."""
    by_block = ("[2,2]", "[128, 128, 128, 128]", " {axis=0, block_size=2}")
    shape, zero, attributes = pick(("[]", "128", ""), ("[2]", "[128, 128]", " {axis=1}"), by_block)
    scale = {"[]": "0.5", "[2]": "[0.5, 3.0]", "[2,2]": "[0.5, 3.0, 1.0, 0.25]"}[shape]
    return f"""
    graph @main(%x: f32[3,4]) -> (%y) {{
      weight %w: u8[4,2] = [0, 1, 127, 128, 129, 200, 254, 255]
      weight %s: f32{shape} = {scale}
      weight %z: u8{shape} = {zero}
      %d = DequantizeLinear(%w, %s, %z){attributes}
      %y = MatMul(%x, %d)
    }}"""
