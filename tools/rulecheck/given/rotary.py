"""Rotations of pairs as exporters spell them, with tables of cosines and sines from wherever models have them.

Pairs are the elements at equal places of both halves of a row (kind 0), neighbours (kind 1), or both elements of the
last axis (kind 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....ir.core import Value, constant
from ....ir.tensor import Tensor
from ....ir.types import F16, F32, I64, DType
from ..choices import seed_of
from ..sketch import Instance, Sketch
from ..wanted import Shape
from . import graph_for

_END = 2**63 - 1  # how exporters write "to the end"


@dataclass(frozen=True)
class _Rows:
    """What is rotated: rows of pairs, and the dimensions before them in it and in tables."""

    dtype: DType
    lead: Shape
    table: Shape
    pairs: int


def _rows(sketch: Sketch) -> _Rows:
    batch, length, heads = sketch.pick(1, 3, 2), sketch.pick(3, 1, 4), sketch.pick(2, 1, 3)
    layout = sketch.pick("heads first", "positions first", "no heads")
    dtype, pairs = sketch.pick(F32, F16), sketch.pick(2, 3, 4, 1)
    each = sketch.pick(1, batch)  # one table for all, or one for each of the batch
    if layout == "heads first":
        return _Rows(dtype, (batch, heads, length), sketch.pick((each, 1, length), (1, 1, length), (length,)), pairs)
    if layout == "positions first":
        return _Rows(dtype, (batch, length, heads), sketch.pick((each, length, 1), (length, 1)), pairs)
    return _Rows(dtype, (batch, length), sketch.pick((each, length), (length,)), pairs)


# Cutting rows


def _sliced(sketch: Sketch, x: Value, start: int, end: int, step: int = 1) -> Value:
    axis = sketch.pick(-1, len(x.shape or ()) - 1)
    by = sketch.ints(step) if step > 1 or sketch.pick(True, False) else None
    return sketch.op("Slice", x, sketch.ints(start), sketch.ints(end), sketch.ints(axis), by)


def _pieces(sketch: Sketch, x: Value, first: int) -> tuple[Value, Value]:
    """How the rows of x begin, and the rest of them."""
    assert x.shape is not None and isinstance(x.shape[-1], int)
    size = x.shape[-1]
    if sketch.pick("slice", "split") == "slice":
        return _sliced(sketch, x, 0, first), _sliced(sketch, x, first, sketch.pick(_END, size))
    one, two = sketch.outputs("Split", [x, sketch.ints(first, size - first)], 2, {"axis": -1})
    return one, two


def _partners(sketch: Sketch, x: Value, kind: int, pairs: int) -> tuple[Value, Value]:
    """The first and the second partners of all pairs of x, in one axis more for kind 2."""
    if kind == 0:
        return _pieces(sketch, x, pairs)
    if kind == 1:
        end = sketch.pick(_END, 2 * pairs)
        return _sliced(sketch, x, 0, end, 2), _sliced(sketch, x, 1, end, 2)
    way = sketch.pick("pieces", "gather")
    if way == "pieces":
        return _pieces(sketch, x, 1)
    axis = len(x.shape or ()) - 1
    back = sketch.pick(0, 2)  # counted from the end
    first, second = (sketch.op("Gather", x, sketch.ints(i - back), axis=axis) for i in (0, 1))
    return first, second


def _column(sketch: Sketch, part: Value) -> Value:
    """The same with an axis of length 1 at the end."""
    shape = part.shape or ()
    if sketch.pick("unsqueeze", "reshape") == "unsqueeze":
        return sketch.op("Unsqueeze", part, sketch.ints(len(shape)))
    return sketch.op("Reshape", part, sketch.ints(*(int(str(d)) for d in shape), 1))


def _narrow(sketch: Sketch, part: Value) -> Value:
    """The same without its last axis of length 1."""
    shape = part.shape or ()
    if sketch.pick("squeeze", "reshape") == "squeeze":
        return sketch.op("Squeeze", part, sketch.ints(len(shape) - 1))
    return sketch.op("Reshape", part, sketch.ints(*(int(str(d)) for d in shape[:-1])))


def _negated(sketch: Sketch, x: Value, dtype: DType) -> Value:
    return sketch.op("Neg", x) if sketch.pick(True, False) else sketch.swapped("Mul", x, sketch.scalar(-1.0, dtype))


# Tables


def _angles(sketch: Sketch, rows: _Rows, size: int) -> Value:
    """Angles for each position of a table: given, stored, or looked up."""
    shape = (*rows.table, size)
    way = sketch.pick("input", "constant", "rows")
    if way == "input":
        return sketch.input("angles", rows.dtype, shape)
    rng = np.random.default_rng(seed_of(shape))
    if way == "constant":
        return constant(Tensor.from_array(rng.normal(size=shape).astype(rows.dtype.numpy), rows.dtype))
    stored = constant(Tensor.from_array(rng.normal(size=(5, size)).astype(rows.dtype.numpy), rows.dtype))
    return sketch.op("Gather", stored, sketch.input("positions", I64, rows.table, "index 5"), axis=0)


def _twice(sketch: Sketch, x: Value, kind: int, pairs: int) -> Value:
    """Each element twice: as two halves, or as neighbours."""
    shape = tuple(int(str(d)) for d in x.shape or ())
    if kind == 0:
        if sketch.pick("concat", "tile") == "concat":
            return sketch.op("Concat", x, x, axis=-1)
        return sketch.op("Tile", x, sketch.ints(*(1 for _ in shape[1:]), 2))
    column = sketch.op("Unsqueeze", x, sketch.ints(len(shape)))
    if sketch.pick("expand", "concat") == "expand":
        both = sketch.op("Expand", column, sketch.ints(*shape, 2))
    else:
        both = sketch.op("Concat", column, column, axis=-1)
    return sketch.op("Reshape", both, sketch.ints(*shape[:-1], 2 * pairs))


def _wide_table(sketch: Sketch, rows: _Rows, kind: int, function: str) -> Value:
    """A table as wide as the rows; one that does not hold everything twice as well, which must be left alone."""
    if sketch.pick(*(True,) * 7, False):
        if sketch.pick("before", "after") == "before":
            return sketch.op(function, _twice(sketch, _angles(sketch, rows, rows.pairs), kind, rows.pairs))
        return _twice(sketch, sketch.op(function, _angles(sketch, rows, rows.pairs)), kind, rows.pairs)
    if sketch.pick("other order", "anything") == "other order":
        return sketch.op(function, _twice(sketch, _angles(sketch, rows, rows.pairs), 1 - min(kind, 1), rows.pairs))
    return sketch.op(function, _angles(sketch, rows, 2 * rows.pairs))


def _narrow_table(sketch: Sketch, rows: _Rows, function: str, column: bool) -> Value:
    made = sketch.op(function, _angles(sketch, rows, rows.pairs))
    return sketch.op("Unsqueeze", made, sketch.ints(len(rows.table) + 1)) if column else made


# Rotations


@graph_for("rotary_wide")
def wide(sketch: Sketch) -> Instance:
    """x * cos + (-b, a) * sin."""
    kind, rows = sketch.pick(0, 1, 2), _rows(sketch)
    x = sketch.input("x", rows.dtype, (*rows.lead, 2 * rows.pairs))
    v = sketch.op("Reshape", x, sketch.ints(*rows.lead, rows.pairs, 2)) if kind == 2 else x
    a, b = _partners(sketch, v, kind, rows.pairs)
    if kind == 2 and sketch.pick(False, True):
        a, b = _narrow(sketch, a), _narrow(sketch, b)
    joined: list[Value] = []
    for part in (b, a):
        late = sketch.pick(True, False)
        apart = kind > 0 and len(part.shape or ()) == len(rows.lead) + 1
        if apart and not late:
            part = _column(sketch, part)
        if not joined:
            part = _negated(sketch, part, rows.dtype)
        joined.append(_column(sketch, part) if apart and late else part)
    turned = sketch.op("Concat", *joined, axis=-1)
    if kind > 0:
        turned = sketch.op("Reshape", turned, sketch.ints(*rows.lead, 2 * rows.pairs))
    cos, sin = (_wide_table(sketch, rows, kind, function) for function in ("Cos", "Sin"))
    y = sketch.swapped("Add", sketch.swapped("Mul", x, cos), sketch.swapped("Mul", turned, sin))
    return sketch.instance({y: "y"}, [y])


def _products(sketch: Sketch, a: Value, b: Value, cos: Value, sin: Value) -> tuple[Value, Value]:
    """a * cos - b * sin, b * cos + a * sin."""
    one, two = sketch.swapped("Mul", a, cos), sketch.swapped("Mul", b, sin)
    difference = sketch.op("Sub", one, two)
    if sketch.pick(False, True):
        difference = sketch.swapped("Add", one, sketch.op("Neg", two))
    return difference, sketch.swapped("Add", sketch.swapped("Mul", b, cos), sketch.swapped("Mul", a, sin))


@graph_for("rotary_products")
def products(sketch: Sketch) -> Instance:
    """The partners rotated apart, and put together again."""
    kind, rows = sketch.pick(0, 1, 2), _rows(sketch)
    own = (rows.pairs, 2) if kind == 2 else (2 * rows.pairs,)
    x = sketch.input("x", rows.dtype, (*rows.lead, *own))
    a, b = _partners(sketch, x, kind, rows.pairs)
    narrow = kind == 2 and sketch.pick(True, False)
    if narrow:
        a, b = _narrow(sketch, a), _narrow(sketch, b)
    columns = kind == 2 and not narrow
    cos, sin = (_narrow_table(sketch, rows, function, columns) for function in ("Cos", "Sin"))
    parts = _products(sketch, a, b, cos, sin)
    if kind == 1 or narrow:
        parts = _column(sketch, parts[0]), _column(sketch, parts[1])
    y = sketch.op("Concat", *parts, axis=-1)
    return sketch.instance({y: "y"}, [y])


@graph_for("rotary_products_front")
def products_front(sketch: Sketch) -> Instance:
    """Halves rotated apart, and put together before what is not rotated."""
    rows = _rows(sketch)
    rest = [sketch.pick(2, 1, 3) for _ in range(sketch.pick(1, 2))]
    if sketch.pick("part", "input") == "part":
        whole = sketch.input("x", rows.dtype, (*rows.lead, 2 * rows.pairs + sum(rest)))
        x, behind = _pieces(sketch, whole, 2 * rows.pairs)
        others = [behind]
    else:
        x = sketch.input("x", rows.dtype, (*rows.lead, 2 * rows.pairs))
        others = [sketch.input("rest", rows.dtype, (*rows.lead, size)) for size in rest]
    a, b = _partners(sketch, x, 0, rows.pairs)
    cos, sin = (_narrow_table(sketch, rows, function, False) for function in ("Cos", "Sin"))
    y = sketch.op("Concat", *_products(sketch, a, b, cos, sin), *others, axis=-1)
    return sketch.instance({y: "y"}, [y])


@graph_for("rotary_front_packed")
def front_packed(sketch: Sketch) -> Instance:
    """The first elements of each head rotated, heads packed for it."""
    batch, length, heads = sketch.pick(1, 3, 2), sketch.pick(3, 1, 4), sketch.pick(2, 1, 3)
    pairs, rest = sketch.pick(2, 1, 4), sketch.pick(2, 4, 6)
    dtype = sketch.pick(F32, F16)
    x = sketch.input("x", dtype, (batch, length, heads, 2 * pairs + rest))
    front, behind = _pieces(sketch, x, 2 * pairs)
    cos, sin = (sketch.input(name, dtype, (batch, length, pairs)) for name in ("cos", "sin"))
    q = sketch.op("Reshape", front, sketch.ints(batch, length, heads * 2 * pairs))
    attrs = {"num_heads": heads, "interleaved": sketch.pick(0, 1)}
    r = sketch.op("RotaryEmbedding", q, cos, sin, **attrs)
    v = sketch.op("Reshape", r, sketch.ints(batch, length, heads, 2 * pairs))
    y = sketch.op("Concat", v, behind, axis=sketch.pick(-1, 3))
    return sketch.instance({y: "y"}, [y])
