"""Masks of attention as models compute them: from positions, from padding, from both."""

from __future__ import annotations

import numpy as np

from ....ir.core import Value, constant
from ....ir.tensor import Tensor
from ....ir.types import BOOL, F16, F32, F64, I32, I64, DType
from ..choices import Infeasible
from ..sketch import Sketch
from ..wanted import Shape
from . import producer

LOWEST = {F32: -3.4028234663852886e38, F64: -1.7976931348623157e308, F16: -65504.0}


@producer(("mask_plan", 0), ("above_lowest", 0), ("mask_hides_nothing", 2), ("mask_is_causal", 2))
def computed_mask(sketch: Sketch, dtype: DType, shape: Shape) -> Value:
    """A mask of a given shape. Raises Infeasible for shapes and types that masks do not have."""
    if len(shape) < 2 or 0 in shape or (dtype is not BOOL and dtype not in LOWEST):
        raise Infeasible(f"no mask {dtype}{list(shape)}")
    way = sketch.pick("both", "positions", "padding", "sum", "kept")
    hidden = sketch.pick(False, True)  # conditions say which keys are not seen
    if dtype is BOOL:
        made = _roundabout(sketch, _condition(sketch, way, shape, hidden))
        made = sketch.op("Not", made) if hidden else made
    else:
        number = sketch.pick(LOWEST[dtype], -np.inf, -1e4 if dtype is F16 else -1e9)
        if way in ("sum", "kept"):
            made = _summed(sketch, way, dtype, shape, number, hidden)
        else:
            made = _added(sketch, _roundabout(sketch, _condition(sketch, way, shape, hidden)), dtype, number, hidden)
            if way == "both" and np.isfinite(number) and sketch.pick(False, False, True):
                made = sketch.op("Max", made, sketch.scalar(number, dtype))
    return made if made.shape == shape else sketch.op("Expand", made, sketch.ints(*shape))


def _condition(sketch: Sketch, way: str, shape: Shape, hidden: bool) -> Value:
    """Which keys are seen, or hidden."""
    if way == "positions":
        return _positions(sketch, shape, hidden)
    if way == "padding":
        return _padding(sketch, shape, hidden)
    first, second = _positions(sketch, shape, hidden), _padding(sketch, shape, hidden)
    if sketch.pick(True, False):
        return sketch.swapped("Or" if hidden else "And", first, _roundabout(sketch, second))
    both = sketch.swapped("And" if hidden else "Or", sketch.op("Not", first), sketch.op("Not", second))
    return sketch.op("Not", both)


def _counted(sketch: Sketch, first: int, count: int) -> Value:
    """first, first + 1, ..."""
    way = sketch.pick("range", "constant", "sum")
    if way == "constant":
        return constant(Tensor.from_array(np.arange(first, first + count), I64))
    if way == "sum":
        ones = constant(Tensor.from_array(np.ones(count, np.int64), I64))
        return sketch.op("Add", sketch.op("CumSum", ones, sketch.scalar(0, I64)), sketch.scalar(first - 1, I64))
    return sketch.op("Range", *(sketch.scalar(n, I64) for n in (first, first + count, 1)))


def _positions(sketch: Sketch, shape: Shape, hidden: bool) -> Value:
    """Keys up to a query's own place, of the last few alone perhaps; or the other keys."""
    rows, keys = shape[-2:]
    past = sketch.pick(0, keys - rows, 1)
    if past >= 0 and sketch.pick(False, False, True):
        ones = sketch.op("Expand", sketch.scalar(1, I64), sketch.ints(rows, keys))
        kept = sketch.op("Trilu", ones, sketch.scalar(past + hidden, I64), upper=int(hidden))
        return sketch.op("Cast", kept, to=BOOL.onnx)
    i = sketch.op("Unsqueeze", _counted(sketch, past, rows), sketch.ints(1))
    j = _counted(sketch, 0, keys)
    way = sketch.pick("LessOrEqual", "GreaterOrEqual", "Less")
    if way == "LessOrEqual":
        found = sketch.op("Greater" if hidden else way, j, i)
    elif way == "GreaterOrEqual":
        found = sketch.op("Less" if hidden else way, i, j)
    else:
        next_one = sketch.op("Add", i, sketch.scalar(1, I64))
        found = sketch.op("GreaterOrEqual" if hidden else way, j, next_one)
    if sketch.pick(False, False, True):
        first = sketch.op("Sub", i, sketch.scalar(sketch.pick(2, 1, 3), I64))
        late = sketch.op("LessOrEqual" if hidden else "Greater", j, first)
        found = sketch.op("Or" if hidden else "And", found, late)
    return found


def _padding(sketch: Sketch, shape: Shape, hidden: bool) -> Value:
    """Keys for which an input says that they are seen, or not: one number for each of them, or for each pair."""
    dtype = sketch.pick(I64, BOOL, F32, I32)
    if sketch.pick(False, False, False, True):
        given = sketch.input("pairs", dtype, shape, "padding")
    else:
        given = sketch.input("padding", dtype, (shape[0] if len(shape) > 2 else 1, shape[-1]), "padding")
        if len(shape) > 2:
            between = tuple(range(1, len(shape) - 1))
            given = sketch.op("Unsqueeze", given, sketch.ints(*between))
    if dtype is BOOL:
        return sketch.op("Not", given) if hidden else given
    way = sketch.pick("one", "zero", "cast")
    if way == "cast":
        seen = sketch.op("Cast", given, to=BOOL.onnx)
        return sketch.op("Not", seen) if hidden else seen
    equal = sketch.op("Equal", given, sketch.scalar(1 if way == "one" else 0, dtype))
    return equal if (way == "zero") is hidden else sketch.op("Not", equal)


def _roundabout(sketch: Sketch, condition: Value) -> Value:
    """A condition as it is, or through operators that leave it as it is."""
    for _ in range(sketch.pick(1, 0, 2)):
        way = sketch.pick("not", "number", "cast", "and")
        if way == "not":
            condition = sketch.op("Not", sketch.op("Not", condition))
        elif way == "number":
            number = sketch.op("Cast", condition, to=I64.onnx)
            condition = sketch.op("Equal", number, sketch.scalar(1, I64))
        elif way == "cast":
            condition = sketch.op("Cast", sketch.op("Cast", condition, to=F32.onnx), to=BOOL.onnx)
        else:
            condition = sketch.op("And", condition, sketch.scalar(True, BOOL))
    return condition


def _added(sketch: Sketch, condition: Value, dtype: DType, number: float, hidden: bool) -> Value:
    """What is added to scores: 0 where a key is seen, else the number."""
    zero, low = sketch.scalar(0.0, dtype), sketch.scalar(number, dtype)
    way = sketch.pick("where", "not", "product")
    if way == "product" and np.isfinite(number):
        factor = sketch.op("Cast", condition, to=dtype.onnx)
        return sketch.swapped("Mul", factor if hidden else sketch.op("Sub", sketch.scalar(1.0, dtype), factor), low)
    if way == "not":
        condition, hidden = sketch.op("Not", condition), not hidden
    return sketch.op("Where", condition, low, zero) if hidden else sketch.op("Where", condition, zero, low)


def _summed(sketch: Sketch, way: str, dtype: DType, shape: Shape, number: float, hidden: bool) -> Value:
    """A mask of positions, and what padding adds to it or puts in its place."""
    low = sketch.scalar(number, dtype)
    if way == "kept" and np.isfinite(number):
        full = sketch.op("Expand", low, sketch.ints(*shape[-2:]))
        base = sketch.op("Trilu", full, sketch.scalar(max(1, shape[-1] - shape[-2] + 1), I64))
    else:
        base = _added(sketch, _positions(sketch, shape, hidden), dtype, number, hidden)
    given = _roundabout(sketch, _padding(sketch, shape, hidden))
    if sketch.pick(True, False):
        return sketch.op("Where", given, low, base) if hidden else sketch.op("Where", given, base, low)
    other = sketch.pick(number, -np.inf, -1e4 if dtype is F16 else -1e9)
    total = sketch.swapped("Add", base, _added(sketch, given, dtype, other, hidden))
    return sketch.op("Max", total, low) if np.isfinite(number) and sketch.pick(True, False) else total
