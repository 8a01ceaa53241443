"""Matrices in blocks: integers of a few bits, with a scale (and perhaps an offset) for each block of a row.

A matrix here is [rows, columns] with the columns summed over by a product (a Linear's [outputs, inputs]); a block is
`block` columns of one row. Four kinds, with codes c in 0 .. 2^bits - 1:

    symmetric    w = scale (c - 2^(bits-1))
    positive     the same with scales above 0, for runtimes that take no others
    asymmetric   w = scale (c - zero), zero an integer of the same bits
    minimum      w = scale c + minimum, both floats

The last is what llama.cpp calls Q4_1. `exact_blocks` finds that numbers lie on such grids already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...ir.tensor import Array

SYMMETRIC, POSITIVE, ASYMMETRIC, MINIMUM = "symmetric", "positive", "asymmetric", "minimum"
_BYTE = 8
KINDS = (SYMMETRIC, POSITIVE, ASYMMETRIC, MINIMUM)
SMALLEST_SCALE = np.float32(2.0**-24)  # the smallest number of f16 above 0: a positive scale of a block of zeros


@dataclass(frozen=True)
class Scheme:
    """How a matrix is stored: bits of a code (2, 3, 4 or 8), columns of a block, and the kind."""

    bits: int
    block: int
    kind: str = SYMMETRIC

    def __post_init__(self) -> None:
        """Raises ValueError for what it cannot be."""
        if self.bits not in (2, 3, 4, 8):
            raise ValueError(f"weights of {self.bits} bits: 2, 3, 4 and 8 can be")
        if self.block < 1 or self.kind not in KINDS:
            raise ValueError(f"blocks of {self.block}, {self.kind}: a positive number, and one of {', '.join(KINDS)}")

    @property
    def top(self) -> int:
        """The largest code."""
        return int((1 << self.bits) - 1)

    @property
    def middle(self) -> int:
        """The code of 0 in symmetric blocks."""
        return int(1 << (self.bits - 1))

    @property
    def is_symmetric(self) -> bool:
        """True if the code of 0 is in the middle, and a block has nothing but its scale."""
        return self.kind in (SYMMETRIC, POSITIVE)

    def count(self, columns: int) -> int:
        """Blocks of a row; the last may be shorter."""
        return -(-columns // self.block)


@dataclass(frozen=True)
class Blocks:
    """A matrix in blocks.

    `codes`: u8 [rows, columns]. `scale`: f32 [rows, blocks]. `offset`: the zero of each block as u8 [rows, blocks]
    (asymmetric), its minimum as f32 (minimum), None (symmetric). `half`: scales and minima are numbers of f16.
    """

    scheme: Scheme
    codes: Array
    scale: Array
    offset: Array | None = None
    half: bool = False

    def dequantized(self) -> Array:
        """The matrix that it stands for, f32 [rows, columns]."""
        kind, columns = self.scheme.kind, self.codes.shape[1]
        scale = spread(self.scale, self.scheme.block, columns)
        if kind == MINIMUM:
            assert self.offset is not None
            return self.codes.astype(np.float32) * scale + spread(self.offset, self.scheme.block, columns)
        if self.offset is None:
            return (self.codes.astype(np.float32) - np.float32(self.scheme.middle)) * scale
        zero = spread(self.offset.astype(np.float32), self.scheme.block, columns)
        return (self.codes.astype(np.float32) - zero) * scale

    def rounded(self) -> Blocks:
        """With scales and minima that half precision holds: half the room, codes stay as they are."""
        if self.half:
            return self
        offset = self.offset
        if offset is not None and self.scheme.kind == MINIMUM:
            offset = to_half(offset)
        return replace(self, scale=to_half(self.scale), offset=offset, half=True)

    def bits_per_weight(self) -> float:
        """What a weight takes as it is stored, scales and offsets included."""
        number = 16 if self.half else 32
        stored = {3: 4}.get(self.scheme.bits, self.scheme.bits)
        each = {ASYMMETRIC: stored, MINIMUM: number}.get(self.scheme.kind, 0)
        return stored + (number + each) * self.scale.size / self.codes.size


def joined(parts: Sequence[Blocks]) -> Blocks:
    """Matrices above each other, of one scheme and as many columns. Raises ValueError for no parts or other ones."""
    if not parts or any(part.scheme != parts[0].scheme for part in parts):
        raise ValueError("matrices of different schemes")
    if len(parts) == 1:
        return parts[0]
    offsets = [part.offset for part in parts if part.offset is not None]
    return Blocks(
        parts[0].scheme,
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.scale for part in parts]),
        np.concatenate(offsets) if offsets else None,
        all(part.half for part in parts),
    )


def to_half(array: Array) -> Array:
    """The nearest numbers that f16 holds, as f32. Numbers beyond its range stay at its largest."""
    largest = np.float32(np.finfo(np.float16).max)
    return np.clip(array, -largest, largest).astype(np.float16).astype(np.float32)


def spread(per_block: Array, block: int, columns: int) -> Array:
    """A number of each block for each of its columns: [rows, blocks] -> [rows, columns]."""
    return np.repeat(per_block, block, axis=1)[:, :columns]


def apart(matrix: Array, block: int) -> Array:
    """[rows, columns] -> [rows, blocks, block]; a last block that is shorter repeats its last column."""
    rows, columns = matrix.shape
    short = -columns % block
    if short:
        matrix = np.concatenate([matrix, np.repeat(matrix[:, -1:], short, axis=1)], axis=1)
    return matrix.reshape(rows, -1, block)


def together(blocked: Array, columns: int) -> Array:
    """[rows, blocks, block] -> [rows, columns]."""
    return blocked.reshape(blocked.shape[0], -1)[:, :columns]


def encode(blocked: Array, scale: Array, offset: Array | None, scheme: Scheme) -> Array:
    """The nearest codes, u8 [rows, blocks, block], of numbers f32 by scales and offsets [rows, blocks]."""
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)[..., None]
    if scheme.kind == MINIMUM:
        assert offset is not None
        places = (blocked - offset[..., None]) * inverse
    else:
        zero = np.float32(scheme.middle) if offset is None else offset[..., None].astype(np.float32)
        places = blocked * inverse + zero
    codes: Array = np.clip(np.rint(places), 0, scheme.top).astype(np.uint8)
    return codes


def decode(codes: Array, scale: Array, offset: Array | None, scheme: Scheme) -> Array:
    """The numbers f32 of codes [rows, blocks, block]."""
    if scheme.kind == MINIMUM:
        assert offset is not None
        return codes.astype(np.float32) * scale[..., None] + offset[..., None]
    zero = np.float32(scheme.middle) if offset is None else offset[..., None].astype(np.float32)
    return (codes.astype(np.float32) - zero) * scale[..., None]


def ranges(blocked: Array, scheme: Scheme) -> tuple[Array, Array | None]:
    """Scales f32 and offsets [rows, blocks] by which no number of a block is clipped.

    Symmetric ones are signed: the number that is largest by magnitude takes the code 0, so that all 2^bits codes are
    of use. With 8 bits, where one code is not worth it, they are not negative. A block of zeros has scale 0, or where
    scales are to be positive the smallest number of f16.
    """
    low, high = blocked.min(axis=2), blocked.max(axis=2)
    if scheme.kind == MINIMUM:
        return ((high - low) / scheme.top).astype(np.float32), low.astype(np.float32)
    if scheme.is_symmetric:
        return _symmetric(low, high, scheme.middle, scheme), None
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    scale = ((high - low) / scheme.top).astype(np.float32)
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
    return scale, np.clip(np.rint(-low * inverse), 0, scheme.top).astype(np.uint8)


def _symmetric(low: Array, high: Array, steps: int, scheme: Scheme) -> Array:
    """Scales with `steps` of them from 0 to what is largest by magnitude."""
    if scheme.bits == _BYTE or scheme.kind == POSITIVE:
        scale = (np.maximum(-low, high) / min(steps, scheme.middle - 1)).astype(np.float32)
        return np.asarray(np.maximum(scale, SMALLEST_SCALE)) if scheme.kind == POSITIVE else scale
    return (np.where(-low >= high, low, high) / -steps).astype(np.float32)


# Exact grids

_ULPS = 4  # of the largest number of a block: how far from its grid rounding to f32 may have put a number


def exact_blocks(matrix: Array, scheme: Scheme) -> Blocks | None:
    """`matrix` (f32) in blocks that give each number again, up to rounding of f32; None where it lies on no grid.

    Scales and minima are those of f16 where these fit as well: models that come from llama.cpp's formats hold such.
    Raises nothing; a last block that is shorter is on no grid.
    """
    rows, columns = matrix.shape
    if columns % scheme.block or not rows:
        return None
    sample = max(1, rows // 16)
    if sample > 1 and _on_grid(apart(matrix[::sample], scheme.block), scheme) is None:
        return None
    found = _on_grid(apart(matrix, scheme.block), scheme)
    if found is None:
        return None
    codes, scale, offset, half = found
    return Blocks(scheme, together(codes, columns), scale, offset, half)


def _on_grid(blocked: Array, scheme: Scheme) -> tuple[Array, Array, Array | None, bool] | None:
    """Codes, scales, offsets, and whether these are numbers of f16."""
    flat = blocked.reshape(-1, scheme.block)
    codes = np.zeros(flat.shape, np.uint8)
    scale = np.zeros(len(flat), np.float32)
    offset = None if scheme.is_symmetric else np.zeros(len(flat), np.float32)
    allowed = _ULPS * np.spacing(np.abs(flat).max(axis=1))
    left = np.arange(len(flat))
    halves: list[bool] = []
    for steps in _step_counts(scheme):
        numbers = flat[left]
        for half in (True, False):
            s, m = _grid(numbers, steps, half, scheme)
            c = encode(numbers[:, None], s[:, None], None if m is None else m[:, None], scheme)
            made = decode(c, s[:, None], None if m is None else m[:, None], scheme)[:, 0]
            fits = np.abs(made - numbers).max(axis=1) <= allowed[left]
            if fits.any():
                at = left[fits]
                codes[at], scale[at] = c[fits, 0], s[fits]
                if offset is not None and m is not None:
                    offset[at] = m[fits]
                halves.append(half)
            left, numbers = left[~fits], numbers[~fits]
            if not len(left):
                break
        if not len(left):
            break
    if len(left):
        return None
    shape = blocked.shape[:2]
    offsets = None if offset is None else offset.reshape(shape)
    return codes.reshape(blocked.shape), scale.reshape(shape), offsets, all(halves)


def _step_counts(scheme: Scheme) -> range:
    """How many steps may lie between the ends of a block, the likeliest first: most blocks use both end codes."""
    if scheme.is_symmetric:
        most = scheme.middle - (scheme.bits == _BYTE)
        return range(most, max(most - 4, 0), -1)
    return range(scheme.top, 0, -1) if scheme.bits <= 4 else range(scheme.top, scheme.top - 4, -1)


def _grid(numbers: Array, steps: int, half: bool, scheme: Scheme) -> tuple[Array, Array | None]:
    """Scales, and minima but for symmetric blocks, if `steps` of them lie between the ends of each block."""
    if scheme.is_symmetric:
        s = _symmetric(numbers.min(axis=1), numbers.max(axis=1), steps, scheme)
        return (to_half(s) if half else s), None
    low, high = numbers.min(axis=1), numbers.max(axis=1)
    s = ((high - low) / np.float32(steps)).astype(np.float32)
    return (to_half(s), to_half(low)) if half else (s, low.astype(np.float32))
