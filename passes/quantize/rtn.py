"""RTN: each number becomes the nearest code, by the scale that gives its block the smallest squared error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...ir.tensor import Array
from .blocks import MINIMUM, POSITIVE, SMALLEST_SCALE, Blocks, Scheme, apart, decode, encode, ranges, together

_SHRINK = np.linspace(1.0, 0.7, 13, dtype=np.float32)[1:]  # parts of the range that are tried
_ROUNDS = 2  # of least squares behind the best of them


def rtn(matrix: Array, scheme: Scheme, clip: bool = True, importance: Array | None = None) -> Blocks:
    """f32 [rows, columns] in blocks, by rounding to nearest.

    `clip`: narrower ranges are tried, in which the numbers at the ends of a block are clipped, and scales (and minima)
    by least squares for the codes found. `importance` f32 [columns] weighs the squared errors; without it all count
    alike.
    """
    blocked = apart(np.ascontiguousarray(matrix, dtype=np.float32), scheme.block)
    scale, offset = ranges(blocked, scheme)
    codes = encode(blocked, scale, offset, scheme)
    if clip and scheme.bits < 8:
        weight = None if importance is None else apart(importance[None].astype(np.float32), scheme.block)
        codes, scale, offset = fitted(blocked, codes, scale, offset, scheme, weight)
    return Blocks(scheme, together(codes, matrix.shape[1]), scale, offset)


def fitted(
    blocked: Array, codes: Array, scale: Array, offset: Array | None, scheme: Scheme, weight: Array | None = None
) -> tuple[Array, Array, Array | None]:
    """Codes, scales and offsets of smaller squared error; each block keeps what is best for it.

    `blocked` and `codes` are [rows, blocks, block], `weight` of squared errors [1 or rows, blocks, block].
    """
    best = _error(blocked, decode(codes, scale, offset, scheme), weight)
    codes, scale = codes.copy(), scale.copy()
    offset = None if offset is None else offset.copy()
    full = scale.copy()
    floor = None if offset is None else offset.copy()

    def keep(s: Array, o: Array | None) -> None:
        c = encode(blocked, s, o, scheme)
        error = _error(blocked, decode(c, s, o, scheme), weight)
        better = error < best
        codes[better], scale[better], best[better] = c[better], s[better], error[better]
        if offset is not None and o is not None:
            offset[better] = o[better]

    for part in _SHRINK:
        s = full * part
        o = floor
        if scheme.kind == MINIMUM and floor is not None:
            o = floor + full * np.float32((1 - part) * scheme.top / 2)  # both ends come nearer
        elif not scheme.is_symmetric and floor is not None:
            o = np.clip(np.rint((floor - scheme.top / 2) / part + scheme.top / 2), 0, scheme.top).astype(np.uint8)
        keep(s, o)
    for _ in range(_ROUNDS):
        keep(*least_squares(blocked, codes, scale, offset, scheme, weight))
    return codes, scale, offset


def least_squares(
    blocked: Array, codes: Array, scale: Array, offset: Array | None, scheme: Scheme, weight: Array | None = None
) -> tuple[Array, Array | None]:
    """The scales (and minima) with which these codes are nearest to the numbers; old ones where there is no best."""
    c = codes.astype(np.float32)
    w = np.ones_like(c) if weight is None else np.broadcast_to(weight, c.shape)
    if scheme.kind == MINIMUM:
        assert offset is not None
        total = w.sum(axis=2)
        total = np.where(total > 0, total, 1)
        mean_c, mean_x = (w * c).sum(axis=2) / total, (w * blocked).sum(axis=2) / total
        apart_c = c - mean_c[..., None]
        square = (w * apart_c**2).sum(axis=2)
        product = (w * apart_c * (blocked - mean_x[..., None])).sum(axis=2)
        s = np.divide(product, square, out=scale.copy(), where=square > 0)
        return s, np.where(square > 0, mean_x - s * mean_c, offset).astype(np.float32)
    zero = np.float32(scheme.middle) if offset is None else offset[..., None].astype(np.float32)
    steps = c - zero
    square = (w * steps**2).sum(axis=2)
    s = np.divide((w * steps * blocked).sum(axis=2), square, out=scale.copy(), where=square > 0)
    return (np.maximum(s, SMALLEST_SCALE) if scheme.kind == POSITIVE else s), offset


def _error(blocked: Array, made: Array, weight: Array | None) -> Array:
    """Squared error of each block [rows, blocks]."""
    square = (blocked - made) ** 2
    found: Array = (square if weight is None else square * weight).sum(axis=2)
    return found


def in_half(blocks: Blocks, matrix: Array) -> Blocks:
    """With scales and minima of f16, and the codes that are nearest then."""
    rounded = blocks.rounded()
    if rounded is blocks:
        return blocks
    codes = encode(apart(matrix, blocks.scheme.block), rounded.scale, rounded.offset, blocks.scheme)
    return replace(rounded, codes=together(codes, matrix.shape[1]))
