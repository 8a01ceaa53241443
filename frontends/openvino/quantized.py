"""FakeQuantize: to integers and back where levels and ranges are those of 8 or 16 bits, else by its arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.core import Value
from ...ir.errors import InvalidModel
from ...ir.tensor import Array, Tensor
from ...ir.types import F32, I8, I16, U8, U16, DType
from .table import Made, Reading, reads
from .xml import Layer

_INTEGERS: dict[int, tuple[DType, DType]] = {256: (I8, U8), 65536: (I16, U16)}
_CLOSE = 1e-3  # of a step, by which a zero point may miss an integer: ranges are rounded to float32


@reads("FakeQuantize")
def fake_quantize(r: Reading, layer: Layer) -> Made:
    """Rounds [in_low, in_high] to `levels` steps, and maps those to [out_low, out_high]."""
    x, levels = r.arg(layer, 0), layer.int("levels")
    if levels < 2:
        raise InvalidModel(f"{layer} has {levels} levels")
    bounds = [r.arg(layer, index) for index in range(1, 5)]
    known = [r.fixed(bound) for bound in bounds]
    if all(t is not None and t.dtype.is_float for t in known):
        found = _integers(r, layer, x, [t.array().astype(np.float64) for t in known if t is not None], levels)
        if found is not None:
            return found
    return _arithmetic(r, x, bounds, levels)


def _arithmetic(r: Reading, x: Value, bounds: list[Value], levels: int) -> Value:
    low, high, out_low, out_high = bounds
    steps = r.number(levels - 1, x)
    inside = r.b.op("Max", r.b.op("Min", x, high), low)
    place = r.b.op("Div", r.b.op("Sub", inside, low), r.b.op("Sub", high, low))
    whole = r.b.op("Div", r.b.op("Round", r.b.op("Mul", place, steps)), steps)
    return r.b.op("Add", r.b.op("Mul", whole, r.b.op("Sub", out_high, out_low)), out_low)


def _integers(r: Reading, layer: Layer, x: Value, bounds: list[Array], levels: int) -> Value | None:
    """QuantizeLinear and what takes it back; None where the ranges do not have zero on a step, or span several axes."""
    narrow = levels in (255, 65535)  # without the lowest: symmetric
    types = _INTEGERS.get(levels + narrow)
    shape = np.broadcast_shapes(*(b.shape for b in bounds))
    if types is None or x.dtype is not F32 or sum(size != 1 for size in shape) > 1 or any(size == 0 for size in shape):
        return None
    rank = r.rank(layer, x)
    if len(shape) > rank:
        return None
    low, high, out_low, out_high = (np.broadcast_to(b, shape).reshape(-1) for b in bounds)
    axis = next((place + rank - len(shape) for place, size in enumerate(shape) if size != 1), None)
    for dtype in types:
        first = -(1 << (dtype.bits - 1)) + narrow if dtype.kind == "i" else 0
        if narrow and dtype.kind != "i":
            continue
        into = _steps(low, high, levels, first, dtype, symmetric=dtype.kind == "i")
        if into is not None:
            break
    else:
        return None
    if narrow:
        x = r.b.op("Max", r.b.op("Min", x, _floats(r, high, axis, rank)), _floats(r, low, axis, rank))
    codes = r.b.op("QuantizeLinear", x, *_operands(r, *into, dtype), **({} if axis is None else {"axis": axis}))
    if (out_high - out_low == levels - 1).all() and (out_low == first).all():
        return r.cast(codes, F32)
    if (low == out_low).all() and (high == out_high).all():
        back: tuple[Array, Array] | None = into
    else:
        back = _steps(out_low, out_high, levels, first, dtype, symmetric=False)
    if back is None:
        return None
    return r.b.op("DequantizeLinear", codes, *_operands(r, *back, dtype), **({} if axis is None else {"axis": axis}))


def _steps(
    low: Array, high: Array, levels: int, first: int, dtype: DType, symmetric: bool
) -> tuple[Array, Array] | None:
    """Scale f32 and zero point of ranges; None where zero is on no step, or `symmetric` and it is not the middle."""
    step = (high - low) / (levels - 1)
    if not np.isfinite(step).all() or (step <= 0).any():
        return None
    zero = first - low / step
    whole = np.round(zero)
    smallest = np.finfo(np.float32).tiny
    limits: Any = (
        (-(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1) if dtype.kind == "i" else (0, (1 << dtype.bits) - 1)
    )
    if (np.abs(zero - whole) > _CLOSE).any() or (whole < limits[0]).any() or (whole > limits[1]).any():
        return None
    if (symmetric and whole.any()) or (step < smallest).any():
        return None
    return step.astype(np.float32), whole.astype(dtype.numpy)


def _operands(r: Reading, scale: Array, zero: Array, dtype: DType) -> list[Value]:
    shape = () if scale.size == 1 else (scale.size,)
    steps = Tensor.from_array(scale.reshape(shape), F32)
    return [r.b.const(steps), r.b.const(Tensor.from_array(zero.reshape(shape), dtype))]


def _floats(r: Reading, bound: Array, axis: int | None, rank: int) -> Value:
    shape = () if axis is None else [-1 if place == axis else 1 for place in range(rank)]
    return r.b.const(Tensor.from_array(bound.astype(np.float32).reshape(shape), F32))
