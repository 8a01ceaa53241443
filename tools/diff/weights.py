"""How two constants differ, in words."""

from __future__ import annotations

import numpy as np

from ...ir.tensor import Tensor
from ...ir.types import STR


def weight_change(a: Tensor, b: Tensor) -> str:
    """Type and shape where these differ, else how many elements and by how much."""
    if a.dtype is not b.dtype or a.shape != b.shape:
        said = f"{a.type} -> {b.type}"
        return said + (f", {_as(a, b)}" if a.dtype is b.dtype and a.size == b.size and _as(a, b) else "")
    if a.dtype is STR:
        count = sum(x != y for x, y in zip(a.strings(), b.strings()))
        return f"{count:,} of {a.size:,} strings differ"
    if a.size == 1:
        return f"{a.item()} -> {b.item()}"
    different, largest, noise, signal = 0, 0.0, 0.0, 0.0
    for x, y in zip(a.pieces(), b.pieces()):
        different += int(np.count_nonzero((x != y) & ~((x != x) & (y != y))))
        if not np.issubdtype(x.dtype, np.complexfloating):
            x, y = x.astype(np.float64), y.astype(np.float64)
        off = np.abs(y - x)
        finite = np.isfinite(off)
        largest = max(largest, float(off[finite].max(initial=0.0)))
        noise += float(np.square(off[finite]).sum())
        signal += float(np.square(np.abs(x[finite])).sum())
    if not different:
        return "other bits of equal numbers (the sign of a zero, or NaN)"
    relative = f", relative L2 {np.sqrt(noise / signal):.2g}" if signal else ""
    return f"{different:,} of {a.size:,} elements differ, by {largest:.3g} at most{relative}"


def _as(a: Tensor, b: Tensor) -> str:
    """What kind of rearrangement it is, where that is plain."""
    if a.dtype is STR:
        return ""
    ours, theirs = a.read(), b.read()
    if np.array_equal(ours.reshape(-1), theirs.reshape(-1)):
        return "reshaped"
    if ours.ndim > 1 and ours.T.shape == theirs.shape and np.array_equal(ours.T, theirs):
        return "transposed"
    return ""
