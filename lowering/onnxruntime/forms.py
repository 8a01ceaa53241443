"""Natives of the rules that choose onnxruntime's forms of operators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.core import Value
from ...ir.dims import DimLike
from ...ir.infer import content_of
from ...ir.rewrite import ABSENT, native
from ...ir.tensor import Tensor
from ...ir.types import BOOL, F32
from . import lowest  # noqa: F401 (its natives)


@native
def row_of(mask: Value, q: Value) -> Any:
    """[1] where the rows of a mask may have to be repeated for all queries; absent where they are as many."""
    shape, queries = mask.shape, _length(q)
    if shape is None or queries is None:
        return ABSENT
    fits = len(shape) > 1 and shape[-2] == queries
    return ABSENT if fits or _target(mask, -2) == queries else (1,)


@native
def beyond_columns(mask: Value, k: Value, past: Value | None) -> Any:
    """What hides a key, where a mask may have fewer columns than there are keys; absent where it has as many."""
    shape, keys, before = mask.shape, _length(k), 0 if past is None else _length(past)
    if not shape or keys is None or before is None or shape[-1] == keys + before or _target(mask, -1) == keys + before:
        return ABSENT
    return False if mask.dtype is BOOL else -math.inf


def _target(mask: Value, axis: int) -> DimLike | None:
    """The length that an Expand asks for. Where a symbol might be 1, the shape after it does not say so."""
    maker = mask.producer
    target = content_of(maker.inputs[1]) if maker is not None and maker.op.key == "Expand" else None
    return target[axis] if target and len(target) >= -axis else None


def _length(value: Value) -> DimLike | None:
    shape = value.shape
    return shape[-2] if shape is not None and len(shape) > 2 else None


@native
def filled(count: DimLike, number: float) -> Tensor | None:
    """A vector of equal float32 numbers; None for an unknown count."""
    if not isinstance(count, int):
        return None
    return Tensor.of_splat(np.float32(number), (count,), F32)
