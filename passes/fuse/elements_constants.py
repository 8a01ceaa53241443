"""Constants whose elements follow from their indices: ramps, steps, triangles, bands and diagonals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ...ir.core import Value
from ...ir.dims import DimLike
from ...ir.tensor import Tensor
from ...ir.types import DType
from .elements import Expr, Space
from .elements_leaves import fold, number

_MAX_BYTES: Final = 1 << 23
_MAX_STEPS: Final = 3
_KINDS: Final = frozenset("fiub")
Pattern = tuple[Any, ...]
_patterns: dict[bytes, Pattern | None] = {}


def constant_element(space: Space, value: Value, indices: Sequence[DimLike]) -> Expr:
    """The element of a constant: a number, a pattern of its indices, or the element unread."""
    tensor = value.const
    assert tensor is not None
    made: Expr | None = None
    if tensor.dtype.kind in _KINDS and tensor.size:
        if tensor.splat is not None or tensor.size == 1:
            made = number(space, _plain(_first(tensor)), tensor.dtype)
        elif all(isinstance(i, int) for i in indices):
            at = tuple(i for i in indices if isinstance(i, int))
            if all(0 <= i < size for i, size in zip(at, tensor.shape)):
                made = number(space, _plain(tensor.array()[at]), tensor.dtype)
        elif tensor.length <= _MAX_BYTES:
            made = _of_pattern(space, tensor, [i for i, d in zip(indices, tensor.shape) if d != 1])
    return space.read(value, indices) if made is None else made


def _first(tensor: Tensor) -> Any:
    return tensor.splat[()] if tensor.splat is not None else tensor.array().reshape(-1)[0]


def _plain(element: Any) -> Any:
    return element.item() if isinstance(element.item(), (bool, int, float)) else float(element)


def _of_pattern(space: Space, tensor: Tensor, indices: list[DimLike]) -> Expr | None:
    key = tensor.digest()
    if key not in _patterns:
        if len(_patterns) > 256:
            _patterns.clear()
        _patterns[key] = _pattern(tensor.array().reshape([d for d in tensor.shape if d != 1]))
    found = _patterns[key]
    if found is None:
        return None
    if found[0] == "ramp":
        _, axis, start, step = found
        ramp = space.dim(indices[axis] * step + start)
        return fold(space, "Cast", tensor.dtype, ramp) if tensor.dtype.is_float else ramp
    _, axis, edges, values = found
    along = indices[axis] if axis is not None else indices[1] - indices[0]
    return _staircase(space, along, edges, values, tensor.dtype)


def _staircase(
    space: Space, along: DimLike, edges: tuple[int, ...], values: tuple[Any, ...], dtype: DType
) -> Expr | None:
    result = number(space, values[0], dtype)
    for edge, value in zip(edges, values[1:]):
        step = number(space, value, dtype)
        if step is None or result is None:
            return None
        result = space.ite(space.at_least_zero(along - edge), step, result)
    return result


def _pattern(array: Any) -> Pattern | None:
    """("ramp", axis, start, step) or ("steps", axis or None along the diagonal, edges, values)."""
    if array.ndim not in (1, 2) or array.dtype.kind not in _KINDS:
        return None
    if array.ndim == 1:
        return _of_line(array, 0)
    if (array == array[:1]).all():
        return _of_line(array[0], 1)
    if (array == array[:, :1]).all():
        return _of_line(array[:, 0], 0)
    if not (array[1:, 1:] == array[:-1, :-1]).all():
        return None
    # Constant along the diagonals: the first column upwards, then the first row.
    line = np.concatenate([array[:0:-1, 0], array[0]])
    steps = _steps(line)
    if steps is None:
        return None
    first = 1 - array.shape[0]
    return "steps", None, tuple(e + first for e in steps[0]), steps[1]


def _of_line(line: Any, axis: int) -> Pattern | None:
    steps = _steps(line)
    if steps is not None:
        return ("steps", axis, *steps)
    if line.dtype.kind == "b" or not np.isfinite(line).all():
        return None
    start, step = float(line[0]), float(line[1]) - float(line[0])
    if not (start.is_integer() and step.is_integer() and abs(start) + abs(step) * len(line) < 1 << 24):
        return None
    if not (line == int(start) + int(step) * np.arange(len(line))).all():
        return None
    return "ramp", axis, int(start), int(step)


def _steps(line: Any) -> tuple[tuple[int, ...], tuple[Any, ...]] | None:
    """Where a line changes, and the values between; None if it changes too often or holds NaN."""
    if line.dtype.kind == "f" and np.isnan(line).any():
        return None
    edges = np.flatnonzero(line[1:] != line[:-1]) + 1
    if len(edges) > _MAX_STEPS or (len(edges) == len(line) - 1 and len(edges) > 1):
        return None
    return tuple(edges.tolist()), tuple(line[[0, *edges]].tolist())
