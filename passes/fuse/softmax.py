"""Natives of the rules for Softmax and LogSoftmax."""

from __future__ import annotations

from ...ir.core import Value
from ...ir.rewrite import native
from .activations import SAFE_EXPONENT, interval


@native
def keeps_axis(r: Value, x: Value, axis: int) -> bool:
    """True if r has x's shape but for a length of 1 at `axis`."""
    shape, of = r.shape, x.shape
    if shape is None or of is None or len(shape) != len(of) or not -len(of) <= axis < len(of):
        return False
    axis %= len(of)
    return all(d == 1 if i == axis else d is e or d == e for i, (d, e) in enumerate(zip(shape, of)))


@native
def exp_sum_is_finite(x: Value) -> bool:
    """True if neither exp(x) nor a sum of any number of them overflows or vanishes."""
    low, high = interval(x)
    return -_limit(x) / 2 <= low and high <= _limit(x) / 2


@native
def spread_is_small(x: Value) -> bool:
    """True if no element of softmax(x) can vanish."""
    low, high = interval(x)
    return high - low <= _limit(x) / 2


def _limit(x: Value) -> float:
    """The largest magnitude that exp takes, halved by the callers to leave room for a sum; f16 has too little of it."""
    name = "" if x.dtype is None else x.dtype.name
    return 0.0 if name == "f16" else SAFE_EXPONENT.get(name, 0.0)
