"""Natives of the rules for activation functions."""

from __future__ import annotations

import math

import numpy as np

from ...ir.core import Value
from ...ir.rewrite import native
from ...ir.rewrite.functions import scalar_of
from ...ir.tensor import Tensor
from ...ir.types import DType

SQRT_2_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715
_TOLERANCES = {"f16": 1e-3, "bf16": 5e-3}
# Where exp(x) stays finite, with a margin: ln of the largest number is 88.7 (bf16 too), 709 and 11.09.
SAFE_EXPONENT = {"f32": 80.0, "bf16": 80.0, "f64": 700.0, "f16": 10.0}


@native
def near(found: float | None, wanted: float, x: Value) -> bool:
    """True if a number in x's precision means `wanted`; False for one that is absent."""
    if not isinstance(found, (int, float)) or x.dtype is None:
        return False
    return abs(found - wanted) <= _TOLERANCES.get(x.dtype.name, 1e-5) * abs(wanted)


@native
def gelu_curve(k: float, a: float | None, ka: float | None, x: Value, factor: float) -> bool:
    """True if k (x + a x^3), or k x + ka x^3, is `factor` times the argument of tanh in the approximation of Gelu.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016: sqrt(2 / pi) (x + 0.044715 x^3).
    """
    if not near(k, factor * SQRT_2_PI, x):
        return False
    return near(a, CUBIC, x) if ka is None else near(ka, factor * SQRT_2_PI * CUBIC, x)


@native
def attribute_holds(number: float | None, x: Value) -> bool:
    """True if an attribute, which is f32, holds a finite number as precisely as x does; for one that is absent too."""
    if number is None:
        return True
    if not isinstance(number, (int, float)) or not math.isfinite(number) or x.dtype is None:
        return False
    return x.dtype.name != "f64" or float(np.float32(number)) == number


@native
def slope(factor: float | None, divisor: float | None, number: float = 1.0) -> float | None:
    """number * factor, or number / divisor, whichever is there; `number` where neither is. None if it is not finite."""
    if divisor is not None:
        return number / divisor if divisor else None
    result = number if factor is None else number * factor
    return result if math.isfinite(result) else None


@native
def at_least_zero(bound: Value | None, x: Value) -> Tensor | None:
    """A constant bound of Clip, or 0 if it is smaller or absent; None for one that is computed or no number."""
    number = 0.0 if bound is None else scalar_of(bound)
    if not isinstance(number, (int, float)) or math.isnan(number) or x.dtype is None:
        return None
    return Tensor.of(max(float(number), 0.0), x.dtype)


@native
def offset(factor: float | None, divisor: float | None, after: float | None, before: float | None) -> float | None:
    """The number that is added to a scaled x: `after` scaling, or `before` it and scaled as well; 0 without both."""
    if after is not None:
        return after if math.isfinite(after) else None
    return slope(factor, divisor, 0.0 if before is None else before)


@native
def slopes(op: str, s: Value) -> Tensor | None:
    """The slope of x below 0 in max(x, 0) + s max(-x, 0), or with minus."""
    const = s.const
    if const is None or not const.dtype.is_float:
        return None
    return Tensor.from_array(-const.array(), const.dtype) if op == "Add" else const


@native
def smallness_counts(y: Value) -> bool:
    """True if something makes a small error of a number near 0 large: its logarithm, or a division by it."""
    for user, position in y.uses:
        name = user.op.name
        if name in ("Log", "Reciprocal", "Pow") or (name == "Div" and position == 1):
            return True
    return False


@native
def exp_is_finite(x: Value) -> bool:
    """True if exp(x) is proven not to overflow, by what computes x."""
    return x.dtype is not None and interval(x)[1] <= SAFE_EXPONENT.get(x.dtype.name, -math.inf)


@native
def safe_threshold(t: float, dtype: DType) -> bool:
    """True if exp(t) is finite and log(1 + exp(x)) is x, up to rounding, for all x above t."""
    return dtype.name in ("f32", "f64") and 15.0 <= t <= SAFE_EXPONENT["f32"]


def interval(x: Value, depth: int = 6) -> tuple[float, float]:
    """Bounds of all elements of x that are numbers, by the operators that compute it; infinite where none is known."""
    number = scalar_of(x) if x.const is not None else None
    if isinstance(number, (int, float)) and number == number:
        return float(number), float(number)
    node = x.producer
    first = node.inputs[0] if node is not None and node.inputs else None
    if node is None or first is None or depth == 0 or node.op.domain:
        return _UNBOUNDED
    name = node.op.name
    if name in _RANGES:
        return _RANGES[name]
    if name in _SAME_RANGE:
        return interval(first, depth - 1)
    if name in ("Min", "Max"):
        parts = [interval(v, depth - 1) for v in node.inputs if v is not None]
        pick = min if name == "Min" else max
        return pick(low for low, _ in parts), pick(high for _, high in parts)
    if name in ("Neg", "Relu", "Clip"):
        low, high = interval(first, depth - 1)
        if name == "Neg":
            return -high, -low
        if name == "Relu":
            return max(low, 0.0), max(high, 0.0)
        bounds = [interval(v, 1) for v in node.inputs[1:] if v is not None]
        return _clipped(low, high, bounds if len(node.inputs) == 3 and len(bounds) == 2 else [])
    return _UNBOUNDED


def _clipped(low: float, high: float, bounds: list[tuple[float, float]]) -> tuple[float, float]:
    if not bounds:
        return low, high
    (least, _), (_, most) = bounds
    return min(max(low, least), most), min(max(high, least), most)


_UNBOUNDED = (-math.inf, math.inf)
_SAME_RANGE = frozenset({"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Gather", "Expand"})
_RANGES = {
    "Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0), "Tanh": (-1.0, 1.0), "Erf": (-1.0, 1.0),
    "Sin": (-1.0, 1.0), "Cos": (-1.0, 1.0), "LogSoftmax": (-math.inf, 0.0), "Abs": (0.0, math.inf),
    "Exp": (0.0, math.inf), "Softplus": (0.0, math.inf),
}  # fmt: skip
