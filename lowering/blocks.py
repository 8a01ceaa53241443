"""Natives about weights in blocks (DequantizeLinear with block_size), for the rules of every runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.core import Value
from ..ir.rewrite import ABSENT, native
from ..ir.tensor import Tensor
from ..ir.types import F16, F32, I2, I4, I8, U2, U4, U8

SIGNED = frozenset((I2, I4, I8))
CODES = frozenset((*SIGNED, U2, U4, U8))


@native
def code_bits(q: Value) -> int | None:
    """Bits of a code: 2, 4 or 8; None for another type."""
    return q.dtype.bits if q.dtype in CODES else None


@native
def in_half(s: Value) -> Any:
    """The same numbers as f16; absent where it does not hold them."""
    if s.const is None or s.dtype is not F32:
        return None
    found = half_of(s.const)
    return ABSENT if found is None else found


def half_of(numbers: Tensor) -> Tensor | None:
    """The same numbers as f16; None where it does not hold them."""
    array = numbers.array()
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return Tensor.from_array(half, F16) if np.array_equal(half.astype(array.dtype), array) else None


@native
def is_unsigned(q: Value) -> bool:
    """True for codes from 0 on."""
    return q.dtype in CODES and q.dtype not in SIGNED


@native
def packed_codes(q: Value, block: int) -> Tensor | None:
    """Codes [outputs, inputs] as bytes [outputs, blocks, bytes of a block], from 0 on; None for odd blocks.

    Their bytes lie in the same order: signed codes differ in the highest bit of each.
    """
    tensor = q.const
    if tensor is None or len(tensor.shape) != 2 or tensor.dtype not in CODES:
        return None
    rows, columns = tensor.shape
    if block < 16 or block & (block - 1) or columns % block:
        return None
    data = np.frombuffer(tensor.data(), np.uint8)
    if tensor.dtype in SIGNED:
        data = data ^ np.uint8(_highest_bits(tensor.dtype.bits))
    return Tensor(U8, (rows, columns // block, block * tensor.dtype.bits // 8), data=data.data)


def _highest_bits(bits: int) -> int:
    """A byte in which the highest bit of each code is set."""
    return sum(1 << at for at in range(bits - 1, 8, bits))
