"""Natives about the shape and the numbers of attention masks, for the rules of every runtime.

By the operator a mask is broadcast to the rows; where it has fewer columns than there are keys, the others are hidden.
A row in which -inf hides all keys gives zeros, where a softmax gives NaN; no finite mask hides all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ir.core import Value
from ..ir.dims import DimLike
from ..ir.infer import content_of
from ..ir.rewrite import ABSENT, native
from ..ir.types import BOOL

# Operators whose results are finite where what they read is: arithmetic that overflows is not thought of.
_KEEPS_FINITE = frozenset((
    "Reshape", "Unsqueeze", "Squeeze", "Expand", "Slice", "Transpose", "Gather", "Identity", "Cast", "Add", "Sub",
    "Mul", "Neg", "Min", "Max", "Where", "Concat", "ScatterND", "Trilu",
))  # fmt: skip
_SHAPED_BY = frozenset(("Reshape", "Unsqueeze", "Squeeze", "Expand", "Slice", "Gather"))


def is_finite(mask: Value, depth: int = 12) -> bool:
    """True for a mask that is added and holds no infinities, as far as its producers show."""
    if mask.dtype is None or not mask.dtype.is_float:
        return False
    if mask.const is not None:
        return bool(np.isfinite(mask.const.array().astype(np.float32)).all())
    node = mask.producer
    if node is None or depth == 0 or node.op.key not in _KEEPS_FINITE:
        return False
    read = node.inputs[:1] if node.op.key in _SHAPED_BY else node.inputs
    floats = [v for v in read if v is not None and v.dtype is not None and v.dtype.is_float]
    return all(is_finite(value, depth - 1) for value in floats)


@native
def instead_of_nan(mask: Value | None) -> Any:
    """What a row of attention gives in which all keys may be hidden; absent where none is."""
    return ABSENT if mask is None or is_finite(mask) else 0.0


@native
def row_of(mask: Value, q: Value) -> Any:
    """[1] where the rows of a mask may have to be repeated for all queries; absent where they are as many."""
    queries = _length(q)
    return ABSENT if mask.shape is None or queries is None or _is_long(mask, -2, queries) else (1,)


@native
def beyond_columns(mask: Value | None, k: Value, past: Value | None) -> Any:
    """What hides a key, where a mask may have fewer columns than there are keys; absent where it has as many."""
    if mask is None:
        return ABSENT
    keys, before = _length(k), 0 if past is None else _length(past)
    if not mask.shape or keys is None or before is None or _is_long(mask, -1, keys + before):
        return ABSENT
    return False if mask.dtype is BOOL else -math.inf


def _is_long(mask: Value, axis: int, length: DimLike) -> bool:
    """True if a mask is proven to have a length. Where a symbol might be 1, an Expand says more than its shape."""
    value: Value | None = mask
    while value is not None and value.shape is not None:
        if len(value.shape) >= -axis and value.shape[axis] == length:
            return True
        maker = value.producer
        if maker is None or maker.op.key not in ("Expand", "Pad"):
            return False
        if maker.op.key == "Expand":
            target = content_of(maker.inputs[1])
            asked = None if target is None else target[axis] if len(target) >= -axis else 1
            if asked == length:
                return True
            if asked != 1:
                return False
        elif axis == -1 or len(maker.inputs) < 4 or content_of(maker.inputs[3]) != (-1,):
            return False
        value = maker.inputs[0]
    return False


def _length(value: Value) -> DimLike | None:
    shape = value.shape
    return shape[-2] if shape is not None and len(shape) > 2 else None
