"""Affine quantization: the numbers q = round(x / scale) + zero point of ONNX's QuantizeLinear, and what they cost.

    affine = affine_of(low=-1.0, high=3.0, scheme=Scheme(U8))
    codes = quantize(array, affine)             # uint8
    dequantize(codes, affine)                   # differs from `array` by error_bound(affine) at most within the range
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...ir.tensor import Array
from ...ir.types import I8, I32, U8, DType

# The smallest scale: divisions by it do not overflow, and its product with another one is no denormal number.
SMALLEST_SCALE = 2.0**-60
_INT32 = 2.0**31 - 2.0**20  # room for the sum of products that is added to a bias


@dataclass(frozen=True)
class Scheme:
    """How a range becomes a scale and a zero point.

    `symmetric`: the zero point is the middle (0 for i8, 128 for u8). `reduced`: seven bits, for processors whose
    products of u8 and i8 are added in pairs that saturate at 16 bits (AVX2 and AVX-512 without VNNI: VPMADDUBSW).
    `narrow`: -127 to 127, so that both signs have as many steps.
    """

    dtype: DType = U8
    symmetric: bool = False
    reduced: bool = False
    narrow: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in (U8, I8):
            raise ValueError(f"there is no scheme for {self.dtype}")

    @property
    def low(self) -> int:
        """The smallest code."""
        if self.dtype is U8:
            return 1 if self.narrow and not self.reduced else 0
        return (-64 if self.reduced else -128) + self.narrow

    @property
    def high(self) -> int:
        """The largest code."""
        if self.dtype is U8:
            return 127 if self.reduced else 255
        return 63 if self.reduced else 127

    @property
    def middle(self) -> int:
        """The zero point where it is symmetric."""
        return 0 if self.dtype is I8 else (self.high + 1) // 2


WEIGHTS = Scheme(I8, symmetric=True, narrow=True)
REDUCED_WEIGHTS = Scheme(I8, symmetric=True, narrow=True, reduced=True)


class Affine(NamedTuple):
    """A scale (f32) and a zero point (of the codes' dtype): one number each, or one for each element along `axis`."""

    scale: Array
    zero: Array
    low: int
    high: int
    axis: int | None = None


def affine_of(low: Array | float, high: Array | float, scheme: Scheme, axis: int | None = None) -> Affine:
    """Scale and zero point for numbers from `low` to `high`, arrays of one element each or one per channel.

    Zero is always among the numbers and has a code of its own. Raises ValueError where a bound is no finite number, or
    the lower one is above the other.
    """
    below, above = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if not (np.isfinite(below).all() and np.isfinite(above).all()):
        raise ValueError("a range with NaN or infinity")
    if (below > above).any():
        raise ValueError("a range that ends before it begins")
    below, above = np.minimum(below, 0.0), np.maximum(above, 0.0)
    if scheme.symmetric:
        steps = min(scheme.high - scheme.middle, scheme.middle - scheme.low)
        scale = _scale(np.maximum(-below, above) / steps)
        zero = np.full(scale.shape, scheme.middle)
    else:
        scale = _scale((above - below) / (scheme.high - scheme.low))
        exact = scheme.low - below / scale.astype(np.float64)
        zero = np.clip(np.rint(exact), scheme.low, scheme.high)
    return Affine(scale, zero.astype(scheme.dtype.numpy), scheme.low, scheme.high, axis)


def _scale(exact: Array) -> Array:
    """In float32, never smaller than `exact`, so that both ends of a range keep their codes."""
    rounded = np.maximum(exact, SMALLEST_SCALE).astype(np.float32)
    return np.asarray(np.where(rounded < exact, np.nextafter(rounded, np.float32(np.inf)), rounded), np.float32)


def quantize(array: Array, affine: Affine) -> Array:
    """The codes of numbers, as QuantizeLinear defines: division in float32, ties to even, saturation.

    Codes beyond those of a scheme with fewer bits saturate at its ends. `array` is f32; infinity saturates as well,
    NaN has no code. Raises ValueError for it.
    """
    if np.isnan(array).any():
        raise ValueError("NaN has no code")
    scale, zero = _along(affine, array.ndim)
    with np.errstate(over="ignore"):
        codes = np.rint(array.astype(np.float32, copy=False) / scale)
    limits = (affine.low - zero.astype(np.float32), affine.high - zero.astype(np.float32))
    # Saturation before the zero point is added: the sum is then exact, as it is in 32-bit integers.
    codes = np.clip(codes, *limits) + zero.astype(np.float32)
    return np.asarray(codes.astype(affine.zero.dtype))


def dequantize(codes: Array, affine: Affine) -> Array:
    """(q - zero point) * scale in float32, as DequantizeLinear defines."""
    scale, zero = _along(affine, codes.ndim)
    return np.asarray((codes.astype(np.int32) - zero.astype(np.int32)).astype(np.float32) * scale)


def error_bound(affine: Affine) -> Array:
    """How far a number within the range is from what it comes back as, at most: half a step and its rounding."""
    return np.asarray(affine.scale.astype(np.float64) * (0.5 + 2.0**-14))


def represented(affine: Affine) -> tuple[Array, Array]:
    """The smallest and the largest number that have a code."""
    zero = affine.zero.astype(np.int32)
    scale = affine.scale.astype(np.float64)
    return (affine.low - zero) * scale, (affine.high - zero) * scale


def without_overflow(weight_scale: Array, activation_scale: float, bias: Array) -> Array:
    """Scales of weights [channels] that let `bias` [channels] be written in 32 bits at the scale of the products.

    A channel whose weights are all zero, or nearly, has a scale so small that its bias would overflow: it gets a larger
    one, for which its weights still round to what they are within half a step of the bias.
    """
    smallest = np.abs(bias.astype(np.float64)) / (_INT32 * activation_scale)
    found = np.maximum(weight_scale.astype(np.float64), smallest)
    above = np.nextafter(found.astype(np.float32), np.float32(np.inf))
    return np.asarray(np.where(found > weight_scale, above, weight_scale))


def quantized_bias(bias: Array, scale: Array) -> Array:
    """A bias in 32-bit integers at `scale`, ties to even. Raises OverflowError for numbers that do not fit."""
    codes = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    if (np.abs(codes) > 2.0**31 - 1).any():
        raise OverflowError("a bias does not fit 32 bits at its scale")
    return np.asarray(codes.astype(I32.numpy))


def _along(affine: Affine, rank: int) -> tuple[Array, Array]:
    if affine.axis is None or affine.scale.ndim == 0:
        return affine.scale, affine.zero
    shape = [1] * rank
    shape[affine.axis] = -1
    return affine.scale.reshape(shape), affine.zero.reshape(shape)
