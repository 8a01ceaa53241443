"""Natives of the rules for quantized graphs."""

from __future__ import annotations

from ...ir.core import Value
from ...ir.rewrite import native


@native
def is_zero(zero: Value | None) -> bool:
    """True for a zero point that is left out, or whose elements are all zero."""
    return zero is None or (zero.const is not None and not zero.const.array().any())
