"""Floats of 8 and 4 bits: rounding to them, and the scales that bring numbers into their range.

    scale = scale_of(largest=3.0)        # f32, for a whole tensor in E4M3
    codes = to_e4m3(array, scale)        # float8_e4m3fn; codes * scale is off by error_bound(array, scale) at most

E4M3 has 3 bits behind the point and numbers of 2^-6 to 448, below which steps are 2^-9 (P. Micikevicius et al., FP8
Formats for Deep Learning, table 1). Its precision is that of a share of each number, so that a scale only has to bring
the largest one to 448, and one for a whole tensor is as good as one for each channel.

E2M1 has the numbers 0, 0.5, 1, 1.5, 2, 3, 4 and 6, so few that it takes a scale for each block of 16 along a row. In
NVFP4 those scales are E4M3 themselves, times one number for the tensor. MXFP8 is E4M3 with scales that are powers of
two (E8M0) for blocks of 32 (OCP Microscaling Formats 1.0, section 5.3 and table 1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...ir.tensor import Array
from ...ir.types import F4E2M1, F8E4M3FN

E4M3_LARGEST, E2M1_LARGEST = 448.0, 6.0
NVFP4_BLOCK, MXFP8_BLOCK = 16, 32
# The smallest normal number of half precision, in which runtimes take scales. Numbers of E4M3 go down another 2^-6
# below.
SMALLEST_SCALE = 2.0**-14
_BITS = 8  # of a scale: as many as bf16 has, so that each half precision holds it exactly
_E8M0_BIAS, _E8M0_LARGEST = 127, 254  # 255 is NaN
_SHARES = (1.0, 1.5)  # of the scale that takes a block's largest number to 6; the other one takes it to 4


def scale_of(largest: Array | float) -> Array:
    """The scale, f32, that takes numbers of at most this magnitude into E4M3: largest / 448, rounded up to 8 bits.

    That is `SMALLEST_SCALE` at least. Raises ValueError for NaN, infinity and negative numbers.
    """
    exact = np.asarray(largest, np.float64) / E4M3_LARGEST
    if not (np.isfinite(exact).all() and (exact >= 0).all()):
        raise ValueError("a largest magnitude that is no number from 0 on")
    mantissa, exponent = np.frexp(np.maximum(exact, SMALLEST_SCALE))
    return np.asarray(np.ldexp(np.ceil(np.ldexp(mantissa, _BITS)), exponent - _BITS), np.float32)


def to_e4m3(array: Array, scale: Array) -> Array:
    """float8_e4m3fn of f32 by scales that broadcast: division in float32, ties to even, saturation at 448.

    As QuantizeLinear defines with saturate=1; infinities saturate. Raises ValueError for NaN.
    """
    if np.isnan(array).any():
        raise ValueError("NaN has no code")
    with np.errstate(over="ignore"):
        quotient = np.asarray(array, np.float32) / scale
    return np.clip(quotient, -E4M3_LARGEST, E4M3_LARGEST).astype(F8E4M3FN.numpy)


def error_bound(array: Array, scale: Array) -> Array:
    """How far numbers up to 448 scale are from what they come back as, at most.

    Half a unit in the last place is 2^-4 of a number, or 2^-10 scale where that is more.
    """
    magnitude = np.abs(np.asarray(array, np.float64))
    return np.asarray(np.maximum(magnitude * 2.0**-4, np.asarray(scale, np.float64) * 2.0**-10) * (1 + 2.0**-20))


class NvFp4(NamedTuple):
    """A matrix [rows, columns] in NVFP4: `codes` float4_e2m1fn, `scales` float8_e4m3fn [rows, columns / 16], `whole`
    f32.

    It stands for codes * (scales * whole).
    """

    codes: Array
    scales: Array
    whole: Array

    def dequantized(self) -> Array:
        """The matrix, f32."""
        return self.codes.astype(np.float32) * np.repeat(self.scales.astype(np.float32) * self.whole, NVFP4_BLOCK, 1)


def whole_scale(largest: float) -> Array:
    """What the scales of NVFP4's blocks are multiplied by for numbers of at most this magnitude: f32, above 0."""
    return np.asarray(max(largest / (E4M3_LARGEST * E2M1_LARGEST), 2.0**-100), np.float32)


def nvfp4(matrix: Array, whole: Array) -> NvFp4:
    """f32 [rows, columns], columns a multiple of 16, in NVFP4 with this number for the tensor (`whole_scale`).

    A block's largest number becomes 6 or 4, whichever has the smaller squared error.
    """
    blocks = matrix.reshape(len(matrix), -1, NVFP4_BLOCK)
    exact = np.abs(blocks).max(axis=2) / (E2M1_LARGEST * whole)
    best: NvFp4 | None = None
    least = np.full(exact.shape, np.inf)
    for share in _SHARES:
        scales = np.clip(exact * np.float32(share), 0, E4M3_LARGEST).astype(F8E4M3FN.numpy)
        factor = (scales.astype(np.float32) * whole)[..., None]
        codes = to_e2m1(np.divide(blocks, factor, out=np.zeros_like(blocks), where=factor > 0))
        error = ((codes.astype(np.float32) * factor - blocks) ** 2).sum(axis=2)
        if best is None:
            best, least = NvFp4(codes, scales, whole), error
            continue
        better = error < least
        best.codes[better], best.scales[better] = codes[better], scales[better]
    assert best is not None
    return best._replace(codes=best.codes.reshape(matrix.shape))


def to_e2m1(array: Array) -> Array:
    """float4_e2m1fn of f32, ties to even, saturation at 6."""
    return np.clip(array, -E2M1_LARGEST, E2M1_LARGEST).astype(F4E2M1.numpy)


class MxFp8(NamedTuple):
    """A matrix [rows, columns] in MXFP8: `codes` float8_e4m3fn, `exponents` u8 [rows, columns / 32], 127 more than
    those of the scales, which are powers of two: the bits of E8M0."""

    codes: Array
    exponents: Array

    def dequantized(self) -> Array:
        """The matrix, f32."""
        return np.asarray(self.codes.astype(np.float32) * np.repeat(power_of_two(self.exponents), MXFP8_BLOCK, axis=1))


def power_of_two(exponents: Array) -> Array:
    """What E8M0 stands for, f32; 2^-127 is a denormal number."""
    powers: Array = exponents.astype(np.int32) - _E8M0_BIAS
    return np.asarray(np.ldexp(np.ones_like(powers, np.float32), powers))


def mxfp8(matrix: Array) -> MxFp8:
    """f32 [rows, columns], columns a multiple of 32, in MXFP8: the smallest scales by which nothing saturates.

    (The specification rounds them down and lets the largest numbers of a block saturate; NVIDIA's recipe does not.)
    """
    blocks = matrix.reshape(len(matrix), -1, MXFP8_BLOCK)
    mantissa, exponent = np.frexp(np.abs(blocks).max(axis=2).astype(np.float64) / E4M3_LARGEST)
    exponent = np.where(mantissa == 0.5, exponent - 1, exponent)  # a power of two already
    exponents = np.clip(exponent + _E8M0_BIAS, 0, _E8M0_LARGEST).astype(np.uint8)
    exponents[mantissa == 0] = 0
    return MxFp8(to_e4m3(blocks, power_of_two(exponents)[..., None]).reshape(matrix.shape), exponents)
