"""Kernels in numpy for operators that compute: one function of (node, operands) each.

They give what onnxruntime's CPU kernels give: bit for bit in integers, booleans and correctly rounded float
operations. Transcendental functions of f16, bf16 and f32 are computed in double precision and rounded once, which
is closer to the true value than any single-precision kernel. A kernel returns None where only a runtime knows
the answer (float to integer casts out of range, integer powers), and raises CannotEvaluate where none exists
(integer division by zero would end the process).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core import Node
from ..tensor import Array
from ..types import BF16, BY_ONNX, F16, F32, F64, DType
from .errors import CannotEvaluate

Operands = Sequence["Array | None"]
Kernel = Callable[[Node, Operands], Any]


def _direct(function: Callable[..., Any]) -> Kernel:
    """A numpy ufunc whose result has the right dtype by itself."""
    return lambda node, given: function(*given)


def _rounded(function: Callable[[Array], Any]) -> Kernel:
    """A function of one float operand, computed in double precision and rounded to the operand's dtype."""

    def run(node: Node, given: Operands) -> Any:
        x = given[0]
        assert x is not None
        if x.dtype == np.float64:
            return function(x)
        return np.asarray(function(x.astype(np.float64))).astype(x.dtype)

    return run


def _erf(x: Array) -> Array:
    flat = [math.erf(v) for v in x.reshape(-1).tolist()]
    return np.array(flat, dtype=np.float64).reshape(x.shape)


def _sigmoid(x: Array) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def _is_float(x: Array) -> bool:
    return x.dtype.kind == "f"


def _guard_division(a: Array, b: Array) -> None:
    if np.any(b == 0):
        raise CannotEvaluate("an integer is divided by zero")
    if a.dtype.kind == "i" and np.any(b == -1) and np.any(a == np.iinfo(a.dtype).min):
        raise CannotEvaluate("the quotient does not fit the integer type")


def _div(node: Node, given: Operands) -> Any:
    a, b = given
    assert a is not None and b is not None
    if _is_float(a):
        return a / b
    _guard_division(a, b)
    quotient = a // b  # rounds down; ONNX cuts towards zero as C does
    if a.dtype.kind == "i":
        quotient = quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype)
    return quotient


def _mod(node: Node, given: Operands) -> Any:
    a, b = given
    assert a is not None and b is not None
    if _is_float(a):
        return np.fmod(a, b) if node.attr("fmod") else None
    _guard_division(a, b)
    return np.fmod(a, b) if node.attr("fmod") else np.mod(a, b)


def _pow(node: Node, given: Operands) -> Any:
    base, exponent = given
    assert base is not None and exponent is not None
    if not _is_float(base):
        return None
    power = np.power(base.astype(np.float64), exponent.astype(np.float64))
    return np.asarray(power).astype(base.dtype)


def _reciprocal(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    return np.divide(np.ones((), x.dtype), x)


def _relu(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    return np.maximum(x, np.zeros((), x.dtype))


def _is_inf(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    found = np.zeros(x.shape, dtype=np.bool_)
    if node.attr("detect_positive"):
        found = found | (x == np.inf)
    if node.attr("detect_negative"):
        found = found | (x == -np.inf)
    return found


def _where(node: Node, given: Operands) -> Any:
    condition, a, b = given
    assert condition is not None
    return np.where(condition, a, b)  # type: ignore[arg-type]


def _fold_variadic(function: Callable[[Any, Any], Any]) -> Kernel:
    def run(node: Node, given: Operands) -> Any:
        total: Any = given[0]
        for operand in given[1:]:
            total = function(total, operand)
        return total

    return run


def _mean(node: Node, given: Operands) -> Any:
    total: Any = given[0]
    for operand in given[1:]:
        total = total + operand
    return total / np.asarray(len(given), total.dtype)


def _clip(node: Node, given: Operands) -> Any:
    x = given[0]
    assert x is not None
    limits = np.finfo(x.dtype) if _is_float(x) else np.iinfo(x.dtype)
    low = given[1] if len(given) > 1 else None
    high = given[2] if len(given) > 2 else None
    # A bound that is left out is the lowest or highest finite number: infinities do not pass.
    raised = np.maximum(x, np.asarray(limits.min, x.dtype) if low is None else low)
    return np.minimum(raised, np.asarray(limits.max, x.dtype) if high is None else high)


def _shift(node: Node, given: Operands) -> Any:
    a, b = given
    assert a is not None and b is not None
    if np.any(b >= a.dtype.itemsize * 8):
        return None
    left = node.attr("direction") == "LEFT"
    return np.left_shift(a, b) if left else np.right_shift(a, b)


def _range(node: Node, given: Operands) -> Any:
    start, limit, delta = (x.reshape(()) for x in given if x is not None)
    dtype = start.dtype
    if delta == 0:
        raise CannotEvaluate("the step of Range is zero")
    if dtype.kind in "iu":
        values = range(int(start), int(limit), int(delta))
        return np.arange(values.start, values.stop, values.step, dtype=dtype)
    span = float(limit) - float(start)
    count = max(math.ceil(span / float(delta)), 0)
    steps = np.full(count, delta, dtype=dtype)
    if count:
        steps[0] = start
    # onnxruntime adds the step again and again in the element type.
    return np.add.accumulate(steps, dtype=dtype)


def _cumsum(node: Node, given: Operands) -> Any:
    x, axis_operand = given[0], given[1]
    assert x is not None and axis_operand is not None
    axis = int(axis_operand.reshape(-1)[0])
    if not -x.ndim <= axis < x.ndim:
        raise CannotEvaluate(f"axis {axis} of a tensor of rank {x.ndim}")
    if node.attr("reverse"):
        x = np.flip(x, axis)
    total = np.add.accumulate(x, axis=axis, dtype=x.dtype)
    if node.attr("exclusive"):
        moved = np.moveaxis(total, axis, 0)
        total = np.moveaxis(np.concatenate([np.zeros_like(moved[:1]), moved[:-1]]), 0, axis)
    return np.flip(total, axis) if node.attr("reverse") else total


def _matmul(node: Node, given: Operands) -> Any:
    a, b = given
    assert a is not None and b is not None
    if _is_float(a) and a.dtype.itemsize < 8:
        # Sums in double precision: no order of summation is closer to the true value.
        return np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64))).astype(a.dtype)
    return np.matmul(a, b)


def _axes(node: Node, given: Operands, rank: int) -> tuple[int, ...] | None:
    """The axes of a reduction, counted from the front; None for "leave the tensor as it is"."""
    operand = given[1] if len(given) > 1 else None
    if operand is not None and operand.size:
        axes = [int(a) for a in operand.reshape(-1).tolist()]
        if any(not -rank <= a < rank for a in axes):
            raise CannotEvaluate(f"axes {axes} of a tensor of rank {rank}")
        return tuple(a + rank if a < 0 else a for a in axes)
    return None if node.attr("noop_with_empty_axes") else tuple(range(rank))


def _fits(exact: Any, dtype: Any) -> bool:
    """True if integers of a type hold all of these numbers."""
    limits = np.iinfo(dtype)
    return bool(np.all((exact >= limits.min) & (exact <= limits.max)))


def _beyond_double(x: Any) -> bool:
    """True if any of these integers may have been rounded."""
    return bool(np.any(np.abs(x) > 2**53))


def _reduction(function: Callable[..., Any], *, widen: bool, floats_only: bool = False) -> Kernel:
    def run(node: Node, given: Operands) -> Any:
        x = given[0]
        assert x is not None
        if not _is_float(x) and (floats_only or x.dtype.kind not in "iu"):
            return None
        if x.size == 0:
            return None
        axes = _axes(node, given, x.ndim)
        if axes is None:
            return x
        keep = bool(node.attr("keepdims"))
        if widen and _is_float(x) and x.dtype.itemsize < 8:
            wide = function(x.astype(np.float64), axis=axes, keepdims=keep)
            return np.asarray(wide).astype(x.dtype)
        if function is np.prod and _beyond_double(np.prod(x.astype(np.float64), axis=axes)):
            return None  # onnxruntime multiplies integers as doubles
        if widen and not _is_float(x) and not _fits(function(x.astype(np.float64), axis=axes), x.dtype):
            return None  # onnxruntime does not wrap round
        if widen:
            return function(x, axis=axes, keepdims=keep, dtype=x.dtype)
        return function(x, axis=axes, keepdims=keep)

    return run


def cast(x: Array, source: DType, target: DType) -> Array | None:
    """ONNX's Cast between numbers; None where the value depends on the runtime.

    That is: NaN, infinities and numbers that the integer type cannot hold, and 8-bit and smaller floats.
    """
    if source is target:
        return x
    wide = (F16, F32, F64, BF16)
    for dtype in (source, target):
        if dtype.kind not in "fiub" or (dtype.is_float and dtype not in wide) or dtype.bits < 8:
            return None
    if target.kind == "b":
        return np.asarray(x != 0)
    if source.is_float and target.is_int:
        info = np.iinfo(target.numpy)
        cut = np.trunc(x.astype(np.float64))
        # 2**63 - 1 is no double: compare with the power of two above the range.
        if not np.all((cut >= float(info.min)) & (cut < float(info.max + 1))):
            return None
    if target in (F16, BF16) and source not in (F16, BF16, F32):
        x = x.astype(np.float32)  # as the runtime does: doubles are rounded twice
    return x.astype(target.numpy)


def _cast(node: Node, given: Operands) -> Any:
    x, operand = given[0], node.inputs[0]
    assert x is not None and operand is not None
    return cast(x, operand.dtype, BY_ONNX[node.attrs["to"]])


def _cast_like(node: Node, given: Operands) -> Any:
    x, operand, like = given[0], node.inputs[0], node.inputs[1]
    assert x is not None and operand is not None and like is not None
    return cast(x, operand.dtype, like.dtype)


def _identity(node: Node, given: Operands) -> Any:
    return given[0]


KERNELS: dict[str, Kernel] = {
    "Add": _direct(np.add),
    "Sub": _direct(np.subtract),
    "Mul": _direct(np.multiply),
    "Div": _div,
    "Mod": _mod,
    "Pow": _pow,
    "Neg": _direct(np.negative),
    "Abs": _direct(np.abs),
    "Sign": _direct(np.sign),
    "Relu": _relu,
    "Reciprocal": _reciprocal,
    "Sqrt": _direct(np.sqrt),
    "Floor": _direct(np.floor),
    "Ceil": _direct(np.ceil),
    "Round": _direct(np.rint),
    "Exp": _rounded(np.exp),
    "Log": _rounded(np.log),
    "Sin": _rounded(np.sin),
    "Cos": _rounded(np.cos),
    "Tanh": _rounded(np.tanh),
    "Sigmoid": _rounded(_sigmoid),
    "Erf": _rounded(_erf),
    "Softplus": _rounded(lambda x: np.logaddexp(0.0, x)),
    "Not": _direct(np.logical_not),
    "And": _direct(np.logical_and),
    "Or": _direct(np.logical_or),
    "Xor": _direct(np.logical_xor),
    "BitwiseAnd": _direct(np.bitwise_and),
    "BitwiseOr": _direct(np.bitwise_or),
    "BitwiseXor": _direct(np.bitwise_xor),
    "BitwiseNot": _direct(np.bitwise_not),
    "BitShift": _shift,
    "Equal": _direct(np.equal),
    "Less": _direct(np.less),
    "Greater": _direct(np.greater),
    "LessOrEqual": _direct(np.less_equal),
    "GreaterOrEqual": _direct(np.greater_equal),
    "IsNaN": _direct(np.isnan),
    "IsInf": _is_inf,
    "Where": _where,
    "Max": _fold_variadic(np.maximum),
    "Min": _fold_variadic(np.minimum),
    "Sum": _fold_variadic(np.add),
    "Mean": _mean,
    "Clip": _clip,
    "Range": _range,
    "CumSum": _cumsum,
    "MatMul": _matmul,
    "ReduceSum": _reduction(np.sum, widen=True),
    "ReduceProd": _reduction(np.prod, widen=True),
    "ReduceMean": _reduction(np.mean, widen=True, floats_only=True),
    "ReduceMax": _reduction(np.max, widen=False),
    "ReduceMin": _reduction(np.min, widen=False),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Identity": _identity,
}
