"""Natives of the rules that choose onnxruntime's forms of operators."""

from __future__ import annotations

import numpy as np

from ...ir.core import Value
from ...ir.dims import DimLike
from ...ir.infer import content_of
from ...ir.rewrite import native
from ...ir.tensor import Tensor
from ...ir.types import F32
from . import lowest  # noqa: F401 (its natives)


@native
def may_broadcast(mask: Value, q: Value, k: Value, past: Value | None) -> bool:
    """True unless the last two dimensions of a mask are provably the lengths of queries and of all keys."""
    queries, keys = _length(q), _length(k)
    if past is not None:
        before = _length(past)
        keys = None if keys is None or before is None else keys + before
    shape = mask.shape
    if shape is None or len(shape) < 2 or queries is None or keys is None:
        return True
    if shape[-2] == queries and shape[-1] == keys:
        return False
    # Where a symbol might be 1, the shape after Expand is not the length in so many words, but its target is.
    maker = mask.producer
    target = content_of(maker.inputs[1]) if maker is not None and maker.op.key == "Expand" else None
    return target is None or tuple(target[-2:]) != (queries, keys)


def _length(value: Value) -> DimLike | None:
    shape = value.shape
    return shape[-2] if shape is not None and len(shape) > 2 else None


@native
def filled(count: DimLike, number: float) -> Tensor | None:
    """A vector of equal float32 numbers; None for an unknown count."""
    if not isinstance(count, int):
        return None
    return Tensor.of_splat(np.float32(number), (count,), F32)
