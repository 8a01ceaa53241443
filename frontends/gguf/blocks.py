"""Blocks of GGUF's quantized types as codes, scales and minima, each computed from the file when somebody reads it.

    parts = FORMS["Q4_1"]
    parts.codes(blocks), parts.scales(blocks), parts.minima(blocks)      # of u8 [blocks, bytes of one]

w = scale * code + minimum for all types here (ggml-quants.c, dequantize_row_*), so nothing is rounded another time:
a scale in a super-block of 256 is one half-precision number by an integer of 4 to 8 bits, which f32 holds exactly.
Types of grids and of non-linear codes are not among them. Codes of 2 and 3 bits take 4, those of 5 and 6 take 8:
runtimes have no kernels for others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...ir.tensor import Array
from ...ir.types import I4, I8, U4, U8, DType

Part = Callable[[Array], Array]


class Form(NamedTuple):
    """How a type's blocks come apart. `size`: columns that share a scale; each part is [blocks, ...] of numbers."""

    dtype: DType
    size: int
    codes: Part
    scales: Part
    minima: Part | None = None


def _half(blocks: Array, at: int) -> Array:
    """The half-precision number at a byte of each block, f32 [blocks, 1]."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _shifted(data: Array, width: int, shifts: tuple[int, ...], mask: int) -> Array:
    """Fields of bytes: `width` bytes at a time give their lowest field, then the next one, and so on."""
    by = np.array(shifts, np.uint8).reshape(1, 1, -1, 1)
    fields = (data.reshape(len(data), -1, 1, width) >> by) & np.uint8(mask)
    return fields.reshape(len(data), -1)


_NIBBLES, _PAIRS, _BITS = (0, 4), (0, 2, 4, 6), tuple(range(8))


def _nibbles(blocks: Array, at: int) -> Array:
    """16 bytes of 32 codes, the low halves first."""
    return _shifted(blocks[:, at : at + 16], 16, _NIBBLES, 15)


def _fives(blocks: Array, at: int) -> Array:
    """32 codes of 5 bits: four bytes of high bits, and the rest as nibbles."""
    high = np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little")
    return _joined(_nibbles(blocks, at + 4), high, 4)


def _joined(low: Array, high: Array, bits: int) -> Array:
    """Codes of their `bits` low bits and the rest."""
    return np.asarray(low | high << np.uint8(bits))


def _signed(codes: Array, middle: int) -> Array:
    return codes.astype(np.int8) - np.int8(middle)


def _sixes(packed: Array) -> tuple[Array, Array]:
    """Eight scales and eight minima of 6 bits in 12 bytes (Q4_K, Q5_K)."""
    low, least, high = packed[:, :4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 2) & 48)], 1)
    minima = np.concatenate([least & 63, (high >> 4) | ((least >> 2) & 48)], 1)
    return scales, minima


def _scales_of_three(packed: Array) -> Array:
    """Sixteen scales of 6 bits around 0 in 12 bytes (Q3_K)."""
    low = _shifted(packed[:, :8], 8, _NIBBLES, 15)
    high = _shifted(packed[:, 8:], 4, _PAIRS, 3)
    return _signed(_joined(low, high, 4), 32)


def _threes(blocks: Array) -> Array:
    low = _shifted(blocks[:, 32:96], 32, _PAIRS, 3)
    high = _shifted(blocks[:, :32], 32, _BITS, 1)
    return _signed(_joined(low, high, 2), 4)


def _fives_of_many(blocks: Array) -> Array:
    low, high = _shifted(blocks[:, 48:], 32, _NIBBLES, 15), _shifted(blocks[:, 16:48], 32, _BITS, 1)
    return _joined(low, high, 4)


def _sixes_of_many(blocks: Array) -> Array:
    low, high = _shifted(blocks[:, :128], 64, _NIBBLES, 15), _shifted(blocks[:, 128:192], 32, _PAIRS, 3)
    return _signed(_joined(low, high, 4), 32)


FORMS = {
    "Q4_0": Form(I4, 32, lambda b: _signed(_nibbles(b, 2), 8), lambda b: _half(b, 0)),
    "Q4_1": Form(U4, 32, lambda b: _nibbles(b, 4), lambda b: _half(b, 0), lambda b: _half(b, 2)),
    "Q5_0": Form(I8, 32, lambda b: _signed(_fives(b, 2), 16), lambda b: _half(b, 0)),
    "Q5_1": Form(U8, 32, lambda b: _fives(b, 4), lambda b: _half(b, 0), lambda b: _half(b, 2)),
    "Q8_0": Form(I8, 32, lambda b: b[:, 2:].view(np.int8), lambda b: _half(b, 0)),
    "Q2_K": Form(
        U4, 16, lambda b: _shifted(b[:, 16:80], 32, _PAIRS, 3),
        lambda b: _half(b, 80) * (b[:, :16] & 15), lambda b: -(_half(b, 82) * (b[:, :16] >> 4)),
    ),
    "Q3_K": Form(I4, 16, _threes, lambda b: _half(b, 108) * _scales_of_three(b[:, 96:108])),
    "Q4_K": Form(
        U4, 32, lambda b: _shifted(b[:, 16:], 32, _NIBBLES, 15),
        lambda b: _half(b, 0) * _sixes(b[:, 4:16])[0], lambda b: -(_half(b, 2) * _sixes(b[:, 4:16])[1]),
    ),
    "Q5_K": Form(
        U8, 32, _fives_of_many,
        lambda b: _half(b, 0) * _sixes(b[:, 4:16])[0], lambda b: -(_half(b, 2) * _sixes(b[:, 4:16])[1]),
    ),
    "Q6_K": Form(I8, 16, _sixes_of_many, lambda b: _half(b, 208) * b[:, 192:208].view(np.int8)),
}  # fmt: skip
