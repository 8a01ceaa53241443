"""Attention written out on operands whose batch and heads are one axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....ir.core import Value
from ....ir.types import BOOL, F16, F32, DType
from ..sketch import Instance, Sketch
from ..wanted import Shape
from . import graph_for


@dataclass(frozen=True)
class _Sizes:
    dtype: DType
    batch: int
    heads: int
    queries: int
    keys: int
    size: int
    width: int  # of a value

    @property
    def both(self) -> int:
        return self.batch * self.heads


def _sizes(sketch: Sketch) -> _Sizes:
    batch, heads = sketch.pick(1, 3, 2), sketch.pick(2, 1, 3)
    queries, keys = sketch.pick(3, 1, 4), sketch.pick(3, 1, 5, 4)
    return _Sizes(sketch.pick(F32, F16), batch, heads, queries, keys, sketch.pick(2, 4, 1), sketch.pick(2, 3))


def _joined(sketch: Sketch, name: str, n: _Sizes, length: int, size: int) -> Value:
    """Batch and heads as one axis: given so, or made so, where rules find how many heads there are."""
    if sketch.pick("made", "given") == "given":
        return sketch.input(name, n.dtype, (n.both, length, size))
    apart = sketch.input(name, n.dtype, (n.batch, n.heads, length, size))
    return sketch.op("Reshape", apart, sketch.ints(n.both, length, size))


def _narrowed(sketch: Sketch, shape: Shape) -> Shape:
    """A shape that broadcasts to this one, the keys always there."""
    way = sketch.pick("full", "one", "rows", "keys", "column")
    if way == "full":
        return shape
    if way == "one":
        return (*(1 for _ in shape[:-2]), *shape[-2:])
    if way == "rows":
        return shape[-2:]
    if way == "keys":
        return (shape[0], *(1 for _ in shape[1:-1]), shape[-1]) if len(shape) == 4 else (shape[-1],)
    return (*shape[:-1], 1)


def _masked(sketch: Sketch, n: _Sizes, scores: Value, shape: Shape) -> Value:
    """Scores with masks: added, put in their place, both."""
    if sketch.pick(True, False):
        scores = sketch.swapped("Add", scores, sketch.input("a", n.dtype, _narrowed(sketch, shape), "mask"))
    if sketch.pick(False, True):
        fill = sketch.scalar(sketch.pick(-np.inf, -1e4, -3.4028234663852886e38) if n.dtype is F32 else -np.inf, n.dtype)
        test = sketch.input("keep", BOOL, _narrowed(sketch, shape), "padding")
        way = sketch.pick(True, False)
        scores = sketch.op("Where", test, scores, fill) if way else sketch.op("Where", test, fill, scores)
    return scores


def _probabilities(sketch: Sketch, n: _Sizes, scores: Value) -> Value:
    wide = n.dtype is F16 and sketch.pick(True, False)
    if wide:
        scores = sketch.op("Cast", scores, to=F32.onnx)
    made = sketch.op("Softmax", scores, axis=sketch.pick(-1, len(scores.shape or ()) - 1))
    return sketch.op("Cast", made, to=F16.onnx) if wide else made


@graph_for("attention_3d")
def attention_3d(sketch: Sketch) -> Instance:
    """softmax(q k^T * scale + mask) v, the scores taken apart into batch and heads at some place or nowhere."""
    n = _sizes(sketch)
    flat, apart = (n.both, n.queries, n.keys), (n.batch, n.heads, n.queries, n.keys)
    q = _joined(sketch, "q", n, n.queries, n.size)
    k = _joined(sketch, "k", n, n.keys, n.size)
    scores = sketch.op("MatMul", q, sketch.op("Transpose", k, perm=(0, 2, 1)))
    op = sketch.pick("", "Mul", "Div")
    if op:
        scores = sketch.op(op, scores, sketch.scalar(sketch.pick(2.0, 0.5, 3.0), n.dtype))
    if sketch.pick(*(False,) * 3, True):
        scores = sketch.swapped("Mul", sketch.op("Tanh", scores), sketch.scalar(sketch.pick(2.0, 0.5), n.dtype))
    way = sketch.pick("nowhere", "for masks", "to the end", "for values")
    if way == "nowhere":
        made = _probabilities(sketch, n, _masked(sketch, n, scores, flat))
    else:
        if sketch.pick(False, True):
            scores = sketch.swapped("Add", scores, sketch.input("z", n.dtype, flat))
        made = _masked(sketch, n, sketch.op("Reshape", scores, sketch.ints(*apart)), apart)
        if way == "for masks":
            made = sketch.op("Reshape", made, sketch.ints(*flat))
        made = _probabilities(sketch, n, made)
        if way == "to the end":
            made = sketch.op("Reshape", made, sketch.ints(*flat))
    if way == "for values":
        v = sketch.input("v", n.dtype, (n.batch, n.heads, n.keys, n.width))
    else:
        v = _joined(sketch, "v", n, n.keys, n.width)
    y = sketch.op("MatMul", made, v)
    return sketch.instance({y: "y"}, [y])
