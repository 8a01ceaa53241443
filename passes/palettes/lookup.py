"""Look-ups of weights in palettes, in standard operators: how they are written, and how they are known again.

    Gather(palette [K], Cast(codes))                             one palette, codes in the shape of the weights
    Reshape(GatherElements(palettes [G, K], Cast(codes)))        one for each of G groups of outputs, codes [G, n]

Codes are u2, u4 or u8; those of 6 bits are u4 for the upper four and u2 for the lower two. Everything here depends on
constants alone, so that a runtime which folds constants computes it once, when it loads the model.
"""

from __future__ import annotations

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Node, Value, constant
from ...ir.tensor import Array, Tensor
from ...ir.types import F32, I32, U2, U4, U8, DType
from ..quantize.weight_only import packed

CODES = (U2, U4, U8)
_PARTS: dict[int, tuple[DType, ...]] = {
    1: (U2,), 2: (U2,), 3: (U4,), 4: (U4,), 5: (U4, U2), 6: (U4, U2), 7: (U8,), 8: (U8,),
}  # fmt: skip
_TABLE = 1 << 16  # elements of palettes at most: what is looked up in a larger one is no weight


def stored_bits(bits: int) -> int:
    """The bits that a code of `bits` takes in a file."""
    return sum(dtype.bits for dtype in _PARTS[bits])


def types_of(bits: int) -> tuple[DType, ...]:
    """The element types that codes of `bits` are stored as."""
    return _PARTS[bits]


def lookup(b: Builder, codes: Array, palettes: Array, bits: int, hint: str = "") -> Value:
    """f32 in the shape of `codes` (u8): the entries of `palettes` f32 [groups, 2 ^ bits] that they name.

    Groups are equal parts of the first axis of `codes`.
    """
    groups = len(palettes)
    shape = codes.shape
    flat = codes if groups == 1 else codes.reshape(groups, -1)
    low = 0
    index: Value | None = None
    for dtype in reversed(_PARTS[bits]):
        part = packed((flat >> np.uint8(low)) & np.uint8((1 << dtype.bits) - 1), dtype)
        each = b.op("Cast", constant(part, hint), to=I32.onnx)
        if low:
            each = b.op("Mul", each, b.const(np.array(1 << low, np.int32)))
        index = each if index is None else b.op("Add", index, each)
        low += dtype.bits
    assert index is not None
    if groups == 1:
        return b.op("Gather", b.const(Tensor.from_array(palettes[0], F32)), index)
    found = b.op("GatherElements", b.const(Tensor.from_array(palettes, F32)), index, axis=1)
    return b.op("Reshape", found, b.ints(list(shape)))


def names_entries(node: Node) -> bool:
    """True for the Cast of codes of weights: folding it, and all behind it, would spell the weights out again."""
    codes = node.inputs[0] if node.op.key == "Cast" else None
    if codes is None or codes.const is None or codes.const.dtype not in CODES or node.attr("to") != I32.onnx:
        return False
    work, found = [node.output], False
    for value in work:  # grows while we go
        for user, index in value.uses:
            if user.op.key in ("Add", "Mul") and len(work) < 4:
                work.append(user.output)
            elif user.op.key in ("Gather", "GatherElements") and index == 1 and _is_palette(user.inputs[0]):
                found = True
            else:
                return False
    return found


def _is_palette(value: Value | None) -> bool:
    return value is not None and value.const is not None and value.const.dtype is F32 and value.const.size <= _TABLE
