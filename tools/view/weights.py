"""Weights as a page shows them: small ones by their elements, others by statistics alone."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np

from ...ir.core import Value
from ...ir.tensor import Array, Tensor
from ...ir.text.literals import literal_text

SPELLED = 8  # elements up to which a constant is written out
EXACT = 1 << 22  # elements up to which all are looked at; of larger ones SAMPLED, in runs spread evenly
SAMPLED, RUN = 1 << 20, 1 << 12
DRAWN = 1 << 16  # elements that a histogram is made of
BINS = 40


def identity(value: Value) -> Hashable:
    """What two constants have in common exactly where they hold the same: type and digest."""
    assert value.const is not None
    return str(value.type), value.const.digest()


def span_of(tensor: Tensor) -> Hashable:
    """What is equal for two tensors only if they are the same data, without reading what lies in a file."""
    if tensor.file is not None and tensor.file.path:
        return tensor.file.path, tensor.offset, tensor.dtype.name, tensor.shape
    return tensor.digest()


def described(tensor: Tensor, name: str) -> dict[str, Any]:
    """A weight for the page: name, shape, element type and bytes, with `text` (its elements) or `stats`.

    Statistics are of the finite elements: smallest, largest, mean, standard deviation, the share of zeros, and counts
    of `BINS` equal bins between the smallest and the largest, those of `DRAWN` elements at most. `of` is how many
    elements were looked at where not all were.
    """
    found: dict[str, Any] = {
        "name": name, "shape": list(tensor.shape), "dtype": tensor.dtype.name, "bytes": tensor.stored_bytes,
    }  # fmt: skip
    text = literal_text(tensor) if tensor.size <= SPELLED else None
    if text is not None:
        found["text"] = text
    elif tensor.dtype.kind in "fiu":
        found["stats"] = _statistics(tensor)
    return found


def _statistics(tensor: Tensor) -> dict[str, Any]:
    if tensor.splat is not None:
        elements = np.asarray(tensor.splat).reshape(-1)
    elif tensor.size <= EXACT or tensor.dtype.bits < 8:
        elements = tensor.read().reshape(-1)
    else:
        steps = np.linspace(0, tensor.size - RUN, SAMPLED // RUN).astype(np.int64)
        elements = np.frombuffer(tensor.sampled(steps.tolist(), RUN), dtype=tensor.dtype.numpy)
    numbers = _numbers(elements)
    result: dict[str, Any] = {}
    if tensor.splat is None and elements.size < tensor.size:
        result["of"] = int(elements.size)
    if numbers.size < elements.size:
        result["not_finite"] = int(elements.size - numbers.size)
    if not numbers.size:
        return result
    low, high = float(numbers.min()), float(numbers.max())
    drawn = numbers[:: -(-numbers.size // DRAWN)]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, spread = float(numbers.mean(dtype=np.float64)), float(numbers.std(dtype=np.float64))
    result |= {
        "min": _short(low), "max": _short(high), "mean": _short(mean), "std": _short(spread),
        "zeros": _short(float(np.count_nonzero(numbers == 0)) / numbers.size),
    }  # fmt: skip
    if high > low and math.isfinite(high - low):
        result["bins"] = np.histogram(drawn, BINS, (low, high))[0].tolist()
    return result


def _numbers(elements: Array) -> Array:
    """The finite elements as f32, or f64 where that holds what f32 does not."""
    wide = elements.dtype.itemsize == 8 or (elements.dtype.kind in "iu" and elements.dtype.itemsize == 4)
    numbers = elements.astype(np.float64 if wide else np.float32)
    finite = np.isfinite(numbers)
    return numbers if finite.all() else numbers[finite]


def _short(number: float) -> float | str:
    """Five digits, which a page has room for; text where JSON has no number."""
    return float(f"{number:.5g}") if math.isfinite(number) else str(number)
