"""ScaledDotProductAttention as primitives: a row that sees no key is NaN in both, and zeros in ONNX's Attention. The
passes that look for attentions find it where that makes no difference."""

from __future__ import annotations

import numpy as np

from ...ir.core import Value
from ...ir.tensor import Tensor
from ...ir.types import BOOL
from .table import Made, Reading, reads, refused
from .xml import Layer


@reads("ScaledDotProductAttention")
def attention(r: Reading, layer: Layer) -> Made:
    """softmax(q k^T * scale + mask) v, for q [..., L, E], k [..., S, E], v [..., S, V]."""
    q, k, v = (r.arg(layer, index) for index in range(3))
    if len(layer.inputs) > 5:
        raise refused(layer, "there is no form for its sinks")
    rank = r.rank(layer, k)
    scale = r.option(layer, 4)
    if scale is None:
        size = r.dims(layer, q)[-1]
        if not isinstance(size, int) or not size:
            raise refused(layer, "the size of its heads is not fixed")
        scale = r.number(size**-0.5, q)
    turned = r.transpose(k, [*range(rank - 2), rank - 1, rank - 2])
    one = r.fixed(scale)
    scores = r.b.op("MatMul", q, turned)
    if one is None or one.size != 1 or one.item() != 1:
        scores = r.b.op("Mul", scores, r.scalar(scale))
    mask = _causal(r, scores) if layer.flag("causal") else _given(r, layer, scores)
    scores = scores if mask is None else r.b.op("Add", scores, mask)
    return r.b.op("MatMul", r.b.op("Softmax", scores, axis=-1), v)


def _given(r: Reading, layer: Layer, scores: Value) -> Value | None:
    mask = r.option(layer, 3)
    if mask is None or mask.rank == 0:  # a scalar stands for none
        return None
    return _hidden(r, mask, scores) if mask.dtype is BOOL else mask


def _causal(r: Reading, scores: Value) -> Value:
    """Row i sees keys up to i: a lower triangle [L, S]."""
    assert scores.rank is not None
    shape = r.b.op("Shape", scores, start=scores.rank - 2)
    ones = r.b.op("ConstantOfShape", shape, value=Tensor.from_array(np.array([1], np.int64)))
    return _hidden(r, r.cast(r.b.op("Trilu", ones, upper=0), BOOL), scores)


def _hidden(r: Reading, seen: Value, like: Value) -> Value:
    return r.b.op("Where", seen, r.number(0, like), r.number(float("-inf"), like))
