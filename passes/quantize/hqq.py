"""HQQ: offsets (or scales) for which the errors are sparse, found without data by half-quadratic splitting.

Badri, Shaji: Half-Quadratic Quantization of Large Machine Learning Models (2023): minimizes sum |w - w'|^p, p < 1, by
turns of a shrinkage of the errors and a mean. A few large weights then do not draw the grid of their block to them.
There scales stay and zeros are floats; blocks with integer zeros have theirs rounded, and symmetric ones have their
scales fitted instead.
"""

from __future__ import annotations

import numpy as np

from ...ir.tensor import Array
from .blocks import ASYMMETRIC, MINIMUM, Blocks, Scheme, apart, decode, encode, ranges, together
from .rtn import least_squares

_NORM = 0.7  # p
_FIRST, _FACTOR, _ROUNDS = 10.0, 1.01, 20  # the weight of the split, and by what it grows each round


def hqq(matrix: Array, scheme: Scheme) -> Blocks:
    """f32 [rows, columns] in blocks."""
    blocked = apart(np.ascontiguousarray(matrix, dtype=np.float32), scheme.block)
    scale, offset = ranges(blocked, scheme)
    codes = encode(blocked, scale, offset, scheme)
    best = _error(blocked - decode(codes, scale, offset, scheme))
    now_scale, now_offset, now_codes = scale, offset, codes
    weight = _FIRST
    for _ in range(_ROUNDS):
        error = blocked - decode(now_codes, now_scale, now_offset, scheme)
        wanted = blocked - _shrunk(error, weight)
        now_scale, now_offset = _centred(wanted, now_codes, now_scale, now_offset, scheme)
        now_codes = encode(blocked, now_scale, now_offset, scheme)
        found = _error(blocked - decode(now_codes, now_scale, now_offset, scheme))
        better = found < best
        if not better.any():
            break
        scale, best = np.where(better, now_scale, scale), np.where(better, found, best)
        codes = np.where(better[..., None], now_codes, codes)
        if offset is not None and now_offset is not None:
            offset = np.where(better, now_offset, offset)
        weight *= _FACTOR
    return Blocks(scheme, together(codes, matrix.shape[1]), scale, offset)


def _shrunk(error: Array, weight: float) -> Array:
    """The generalized soft threshold: what of an error counts as sparse."""
    size = np.abs(error)
    found: Array = np.sign(error) * np.maximum(0, size - (size + 1e-8) ** (_NORM - 1) / np.float32(weight))
    return found


def _centred(
    wanted: Array, codes: Array, scale: Array, offset: Array | None, scheme: Scheme
) -> tuple[Array, Array | None]:
    """Offsets (symmetric blocks: scales) with which the codes are nearest to the numbers wanted."""
    if scheme.kind == MINIMUM:
        return scale, (wanted - codes * scale[..., None]).mean(axis=2)
    if scheme.kind == ASYMMETRIC:
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
        zero = (codes - wanted * inverse[..., None]).mean(axis=2)
        return scale, np.clip(np.rint(zero), 0, scheme.top).astype(np.uint8)
    return least_squares(wanted, codes, scale, offset, scheme)


def _error(error: Array) -> Array:
    found: Array = (np.abs(error) ** np.float32(_NORM)).sum(axis=2)
    return found
