"""Natives of the rules for what TensorRT refuses."""

from __future__ import annotations

import math

from ...ir.dims import DimLike
from ...ir.rewrite import native
from .. import masks  # noqa: F401 (its natives)


@native
def scale_of(scale: float | None, size: DimLike) -> float | None:
    """The factor of the scores of Attention, 1 / sqrt(size of a head) by default; None where that is unknown."""
    if scale is not None:
        return scale
    return 1.0 / math.sqrt(size) if isinstance(size, int) else None


@native
def window_covers(kernel: tuple[int, ...], height: DimLike, width: DimLike, pads: tuple[int, ...] | None) -> bool:
    """True if a window without padding is as high and as wide as what it moves over, or more so."""
    sizes = zip(kernel, (height, width))
    return not any(pads or ()) and all(isinstance(size, int) and k >= size for k, size in sizes)
