"""Weights as integers: scales for each output channel, and codes that are computed when the file is written."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...ir.core import Value, constant
from ...ir.evaluate import DeferredTensor
from ...ir.tensor import Array, Tensor
from ...ir.types import F32, I8
from .scheme import REDUCED_WEIGHTS, WEIGHTS, Affine, Scheme, affine_of, quantize

_SHARES = 1.0 - 0.5 * np.arange(26) / 26  # of a channel's largest weight, tried as its range
_BLOCK = 1 << 22  # elements that are held as floats at a time
_NEAR = 1 << 17  # elements that are gone through again and again: those and what is made of them stay in a core's cache
_KNOWN: dict[tuple[object, ...], Affine] = {}  # scales of weights by content, the oldest first
_MOST_KNOWN = 4096


class Weights(NamedTuple):
    """Codes (i8), their scales (f32: one, or one for each index of `axis`), and the scheme that made them."""

    codes: Tensor
    affine: Affine
    axis: int | None

    @property
    def scale(self) -> Tensor:
        """The scales as a constant."""
        return Tensor.from_array(self.affine.scale, F32)

    @property
    def zero(self) -> Tensor:
        """The zero points, all 0, as a constant of the scales' shape."""
        return Tensor.from_array(self.affine.zero, I8)


def weight_scheme(reduced: bool) -> Scheme:
    """Symmetric i8 of eight bits, or of seven."""
    return REDUCED_WEIGHTS if reduced else WEIGHTS


def weight_affine(tensor: Tensor, axis: int | None, scheme: Scheme, method: str = "minmax") -> Affine:
    """Scales of weights along `axis` (None: one for all), by the largest weight or by the least squared error.

    Those of least squares take a while and are remembered by the weights' content. Raises ValueError for NaN and
    infinity.
    """
    if method == "minmax":
        return _by_largest(tensor.read(), axis, scheme)[0]
    key = (tensor.digest(), axis, scheme)
    found = _KNOWN.get(key)
    if found is None:
        array = tensor.read()
        found = _least_squares(array, axis, _by_largest(array, axis, scheme)[1], scheme)
        if len(_KNOWN) >= _MOST_KNOWN:
            del _KNOWN[next(iter(_KNOWN))]
        _KNOWN[key] = found
    return found


def _by_largest(array: Array, axis: int | None, scheme: Scheme) -> tuple[Affine, Array]:
    """Scales by the largest weight, and that, f64, of each index of `axis`."""
    others = tuple(i for i in range(array.ndim) if i != axis)
    largest = np.asarray(np.maximum(array.max(others, initial=0), -array.min(others, initial=0)), np.float64)
    if axis is None:
        largest = largest.reshape(())
    return affine_of(-largest, largest, scheme, axis), largest


def _least_squares(array: Array, axis: int | None, largest: Array, scheme: Scheme) -> Affine:
    """The share of each channel's largest weight that quantizes it with the least squared error."""
    rows = array.reshape(1, -1) if axis is None else np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    limits = largest.reshape(-1)
    best = np.empty_like(limits)
    step = max(1, _NEAR // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        part, limit = np.ascontiguousarray(rows[start : start + step]), limits[start : start + step]
        least = np.full(len(part), np.inf)
        off = np.empty_like(part)
        for share in _SHARES:
            affine = affine_of(-limit * share, limit * share, scheme, 0)
            scale = affine.scale[:, None]
            np.rint(np.divide(part, scale, out=off), out=off)
            np.subtract(part, np.multiply(np.clip(off, scheme.low, scheme.high, out=off), scale, out=off), out=off)
            error = np.square(off, out=off).sum(1)
            better = error < least
            least = np.where(better, error, least)
            best[start : start + step] = np.where(better, limit * share, best[start : start + step])
    return affine_of(-best.reshape(largest.shape), best.reshape(largest.shape), scheme, axis)


def as_codes(tensor: Tensor, affine: Affine) -> Weights:
    """Weights by these scales. The codes are computed each time somebody reads them, and never kept."""
    digest = _digest(affine)
    codes = DeferredTensor(I8, tensor.shape, tensor, f"codes {digest}", lambda array: _quantized(array, affine))
    return Weights(codes, affine, affine.axis)


def _quantized(array: Array, affine: Affine) -> Array:
    """The codes, found for some rows at a time: what that takes in between is several times the weights."""
    if array.ndim < 2 or not array.size:
        return quantize(array, affine)
    codes = np.empty(array.shape, affine.zero.dtype)
    step = max(1, _BLOCK // array[0].size)
    for start in range(0, len(array), step):
        rows = slice(start, start + step)
        part = affine._replace(scale=affine.scale[rows], zero=affine.zero[rows]) if affine.axis == 0 else affine
        codes[rows] = quantize(array[rows], part)
    return codes


def given_codes(codes: Array, affine: Affine) -> Weights:
    """Weights whose codes were found in another way than by rounding each."""
    return Weights(Tensor.from_array(codes, I8), affine, affine.axis)


def multiplied(w: Value, factors: Array, axis: int) -> Value:
    """A constant (f32) times `factors`, whose dimensions are those of the constant from `axis` on; 1 everywhere else.

    The products are computed each time somebody reads them, and never kept.
    """
    assert w.const is not None
    shape = [1] * len(w.const.shape)
    shape[axis : axis + factors.ndim] = factors.shape
    by = factors.astype(np.float32).reshape(shape)
    recipe = f"times {Tensor.from_array(by).digest().hex()}"
    return constant(DeferredTensor(F32, w.const.shape, w.const, recipe, lambda array: array * by), w.hint)


def _digest(affine: Affine) -> str:
    from hashlib import blake2b

    return blake2b(affine.scale.tobytes() + bytes(str(affine[2:]), "ascii"), digest_size=16).hexdigest()


def transposed(tensor: Tensor) -> Tensor:
    """A matrix turned, when it is read."""
    shape = tensor.shape[::-1]
    return DeferredTensor(tensor.dtype, shape, tensor, "transpose (1, 0)", lambda array: np.ascontiguousarray(array.T))
